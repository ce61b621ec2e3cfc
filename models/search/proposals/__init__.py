"""Networks proposed for a race: by cost alone, at random, and by regression on trainings."""
