"""What data sets look like on disk, and who is held out when they are split."""
