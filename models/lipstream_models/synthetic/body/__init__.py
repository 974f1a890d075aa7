"""The body model that all synthetic people share: mesh, skin, teeth, eyes and visemes.

Here belong geometry and looks as plain values and arrays; numpy and scipy, no renderer. Hair,
clothes, light and camera are ``blender``'s.
"""
