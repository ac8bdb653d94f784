"""Any source of recordings into stores: planned, divided, written part by part."""
