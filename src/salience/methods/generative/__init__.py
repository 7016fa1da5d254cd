"""Methods that learn how items come about: they can draw new ones."""
