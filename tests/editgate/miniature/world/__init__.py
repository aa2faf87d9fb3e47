"""The world that the miniatures know: facts, documents, edits."""
