"""`python -m face_embedding_server`."""

import sys

from face_embedding_server.cli.main import main

sys.exit(main())
