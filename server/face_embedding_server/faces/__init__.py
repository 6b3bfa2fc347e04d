"""From the image of a request to the aligned face that the network takes."""
