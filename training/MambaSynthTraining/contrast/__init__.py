"""Methods that learn one contrast from another: CRAViM and its rivals."""
