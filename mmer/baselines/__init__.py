"""Classical systems: descriptors of sounds, small classifiers, and stacks of other systems' answers."""
