"""The body model that all synthetic people share: mesh, skin, teeth, eyes and visemes."""
