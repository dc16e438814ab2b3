"""Another database brought into this one: what is new there, object by object, cell by cell."""
