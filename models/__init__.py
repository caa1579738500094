"""The networks in plain torch: autoencoder, backbone, IConFace's pathways, flow matching, sampler, weight files."""
