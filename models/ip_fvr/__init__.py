"""IP-FVR: time, and decoupled attention to references and attributes, beside a frozen FLUX.2 transformer; how clips of a
film are joined, and what they are guided away from."""
