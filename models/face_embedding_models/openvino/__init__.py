"""What is made of weights for OpenVINO: IR, its precisions, and how far each is from f32."""
