"""Still images: reading files, class folders, CIFAR and digits."""
