"""`python -m face_embedding_client`."""

import sys

from face_embedding_client.cli.main import main

sys.exit(main())
