"""From files on disk, arrays or a generator to a pool on the device."""
