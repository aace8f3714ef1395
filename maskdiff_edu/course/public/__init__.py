"""The tests that students have, a module an assignment."""
