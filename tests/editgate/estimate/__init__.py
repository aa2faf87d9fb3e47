"""What a run will cost, said before its first long step: counted work times the speed of a few timed passes."""
