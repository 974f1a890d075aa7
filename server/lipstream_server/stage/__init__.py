"""What an avatar hears and says in the server, apart from how it is sent."""
