"""Labels that are not the teacher's mask as it stands."""
