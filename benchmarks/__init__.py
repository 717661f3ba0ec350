"""Speed: of the networks, of each lowering of a layer, of the whole job."""
