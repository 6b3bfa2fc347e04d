-- Faces in PostgreSQL with pgvector.
--
--   psql -v ON_ERROR_STOP=1 -v space=SPACE -v size=512 -f pgvector.sql
--   python to_pgvector.py faces.parquet | psql -v ON_ERROR_STOP=1
--   SELECT * FROM nearest('[0.1, ...]', 'SPACE', 3);

CREATE EXTENSION IF NOT EXISTS vector;

-- The one embedding space of all faces, to which every row and every probe has to belong.
CREATE TABLE embedding_space (
    space text PRIMARY KEY,
    only_one boolean NOT NULL UNIQUE DEFAULT true CHECK (only_one)
);
INSERT INTO embedding_space VALUES (:'space');

CREATE TABLE faces (
    space text NOT NULL REFERENCES embedding_space,
    file text NOT NULL,
    face integer NOT NULL,
    embedding vector(:size) NOT NULL,
    PRIMARY KEY (file, face)
);

-- All faces are looked at, which is exact. From about a million on, for less than that:
-- CREATE INDEX ON faces USING hnsw (embedding vector_cosine_ops);

CREATE FUNCTION nearest(probe vector, probe_space text, count integer)
RETURNS TABLE (file text, face integer, similarity double precision)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    stored text := (SELECT space FROM embedding_space);
BEGIN
    IF probe_space <> stored THEN
        RAISE EXCEPTION 'the probe is of %, which cannot be compared with the faces of %',
            probe_space, stored;
    END IF;
    RETURN QUERY
        SELECT f.file, f.face, 1 - (f.embedding <=> probe)
        FROM faces AS f ORDER BY f.embedding <=> probe LIMIT count;
END
$$;
