"""The peers: what a user would pick instead, each set up as its documentation says is quickest and yet safe."""
