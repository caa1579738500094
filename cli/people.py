"""Who is who, looked over and corrected by a person."""
