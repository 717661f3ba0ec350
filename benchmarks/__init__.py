"""Speed: of the networks against PyTorch's, of each lowering of a layer."""
