#!/bin/sh
# Calls the server with grpcurl, which learns the contract from the server itself.
#
#   sh tour.sh 127.0.0.1:50051 face.png -plaintext
#   sh tour.sh faces.example.org:443 face.png -cacert ca.pem \
#       -expand-headers -H 'authorization: Bearer ${TOKEN}'
set -eu

address=$1
face=$2
shift 2 # What is left are options for grpcurl.

heading() {
    printf '\n# %s\n' "$1"
}

# call METHOD [OPTIONS...]: send the JSON of standard input.
call() {
    method=$1
    shift
    heading "$method"
    grpcurl -d @ "$@" "$address" "$method"
}

heading list
grpcurl "$@" "$address" list
heading describe
grpcurl "$@" "$address" describe face_embedding.v1.FaceEmbeddingService

echo '{}' | call grpc.health.v1.Health/Check "$@"
info=$(echo '{}' | call face_embedding.v1.FaceEmbeddingService/GetModelInfo "$@")
echo "$info"

# In JSON, bytes are base64.
image=$(base64 <"$face" | tr -d '\n')
call face_embedding.v1.FaceEmbeddingService/Embed "$@" <<EOF
{"faces": [{"encoded": "$image", "aligned": {}}]}
EOF

# The same server by the Open Inference Protocol, also known as KServe V2.
model=$(echo "$info" | sed -n 's/^  "name": "\(.*\)",$/\1/p')
echo '{}' | call inference.GRPCInferenceService/ServerReady "$@"
call inference.GRPCInferenceService/ModelMetadata "$@" <<EOF
{"name": "$model"}
EOF
