"""The catalog's schema, as numbered steps that are never edited, only added to."""

from __future__ import annotations

from sqlite_utils import Database, Migrations

from clipsearch.store.database import units

migrations = Migrations("clipsearch")

_FIRST = """
CREATE TABLE models (
    id INTEGER PRIMARY KEY,
    spec TEXT NOT NULL,
    weights TEXT NOT NULL,
    preprocess TEXT NOT NULL,
    dim INTEGER NOT NULL,
    note TEXT,
    UNIQUE (weights, preprocess)
);
CREATE TABLE roots (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    rules TEXT
);
CREATE TABLE photos (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    root_id INTEGER NOT NULL REFERENCES roots (id),
    path TEXT NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    width INTEGER,
    height INTEGER,
    taken_at TEXT,
    camera TEXT,
    latitude REAL,
    longitude REAL,
    taken_from TEXT,
    lens TEXT,
    orientation INTEGER,
    title TEXT,
    caption TEXT,
    keywords TEXT,
    UNIQUE (root_id, path)
);
CREATE INDEX photos_by_digest ON photos (digest);
CREATE TABLE vectors (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL,
    model_id INTEGER NOT NULL REFERENCES models (id),
    vector BLOB NOT NULL,
    UNIQUE (digest, model_id)
);
CREATE INDEX vectors_by_model ON vectors (model_id);
CREATE TABLE failures (
    root_id INTEGER NOT NULL REFERENCES roots (id),
    path TEXT NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (root_id, path)
);
CREATE TABLE excluded (
    root_id INTEGER NOT NULL REFERENCES roots (id),
    path TEXT NOT NULL,
    PRIMARY KEY (root_id, path)
);
"""


@migrations()
def m001_first_schema(db: Database) -> None:
    """Models, roots, photos, vectors and failures."""
    db.executescript(_FIRST)


@migrations()
def m002_questions_and_pictures(db: Database) -> None:
    """Embeddings of texts that were asked for, and perceptual hashes."""
    db.executescript(
        """
        CREATE TABLE questions (
            model_id INTEGER NOT NULL REFERENCES models (id),
            text TEXT NOT NULL,
            vector BLOB NOT NULL,
            PRIMARY KEY (model_id, text)
        );
        CREATE TABLE pictures (
            digest TEXT PRIMARY KEY,
            phash BLOB NOT NULL
        );
        """
    )


@migrations()
def m003_captions_and_words(db: Database) -> None:
    """Captions that models wrote, and the full-text table, which is filled after migrating."""
    db.executescript(
        """
        CREATE TABLE captions (
            digest TEXT NOT NULL,
            model TEXT NOT NULL,
            text TEXT NOT NULL,
            PRIMARY KEY (digest, model)
        );
        CREATE VIRTUAL TABLE words USING fts5 (
            path, title, caption, keywords, generated,
            tokenize = 'porter unicode61 remove_diacritics 2'
        );
        """
    )


@migrations()
def m004_runtimes(db: Database) -> None:
    """What embeds pictures with a model."""
    db.execute("ALTER TABLE models ADD COLUMN runtime TEXT NOT NULL DEFAULT 'torch'")


@migrations()
def m005_stores(db: Database) -> None:
    """Who this is, engines that the vectors are in or on their way to, and what those lack."""
    db.executescript(
        """
        CREATE TABLE library (id TEXT NOT NULL);
        INSERT INTO library VALUES (lower(hex(randomblob(8))));
        CREATE TABLE stores (
            address TEXT PRIMARY KEY,
            library TEXT NOT NULL,
            ready INTEGER NOT NULL
        );
        CREATE TABLE changed (
            revision INTEGER PRIMARY KEY AUTOINCREMENT,
            photo_id INTEGER NOT NULL UNIQUE
        );
        """
    )


@migrations()
def m006_flaws(db: Database) -> None:
    """What is missing of photos, and another try for the files that could not be read before."""
    db.executescript(
        """
        ALTER TABLE photos ADD COLUMN flaw TEXT;
        CREATE INDEX photos_by_flaw ON photos (flaw) WHERE flaw IS NOT NULL;
        UPDATE failures SET size = -1;
        """
    )


@migrations()
def m007_departed(db: Database) -> None:
    """What left the index and is kept for a while."""
    db.executescript(
        """
        ALTER TABLE library ADD COLUMN kept_for INTEGER NOT NULL DEFAULT 30;
        CREATE TABLE departed (
            digest TEXT PRIMARY KEY,
            size INTEGER NOT NULL,
            since INTEGER NOT NULL,
            days INTEGER NOT NULL,
            facts TEXT NOT NULL
        );
        CREATE INDEX departed_by_size ON departed (size);
        CREATE TABLE departed_vectors (
            digest TEXT NOT NULL,
            model_id INTEGER NOT NULL REFERENCES models (id),
            vector BLOB NOT NULL,
            PRIMARY KEY (digest, model_id)
        );
        """
    )


@migrations()
def m008_batches(db: Database) -> None:
    """What tells the states of a catalog apart; embeddings that are none go."""
    db.executescript(
        """
        CREATE TABLE batches (
            model_id INTEGER NOT NULL REFERENCES models (id),
            last_id INTEGER NOT NULL,
            stamp BLOB NOT NULL,
            PRIMARY KEY (model_id, last_id)
        ) WITHOUT ROWID;
        INSERT INTO batches
            SELECT model_id, max(id), randomblob(8) FROM vectors GROUP BY model_id;
        """
    )
    for model_id, dim in db.execute("SELECT id, dim FROM models").fetchall():
        units.remove_others(db.conn, model_id, dim)


@migrations()
def m009_tries(db: Database) -> None:
    """How often a file was tried that a decoder did not come to an end with."""
    db.execute("ALTER TABLE failures ADD COLUMN tries INTEGER NOT NULL DEFAULT 0")


@migrations()
def m010_seams_and_folder_rules(db: Database) -> None:
    """Where file systems meet below roots, and the rules of folders that were roots before."""
    db.executescript(
        """
        CREATE TABLE seams (
            root_id INTEGER NOT NULL REFERENCES roots (id),
            path TEXT NOT NULL,
            volume TEXT NOT NULL,
            PRIMARY KEY (root_id, path, volume)
        );
        CREATE TABLE folder_rules (
            root_id INTEGER NOT NULL REFERENCES roots (id),
            path TEXT NOT NULL,
            rules TEXT NOT NULL,
            PRIMARY KEY (root_id, path)
        );
        """
    )


@migrations()
def m011_parts_of_names(db: Database) -> None:
    """The parts of names, and what stands inside them; both are filled after migrating."""
    db.executescript(
        """
        DROP TABLE words;
        CREATE VIRTUAL TABLE words USING fts5 (
            path, title, caption, keywords, generated, parts,
            tokenize = 'porter unicode61 remove_diacritics 2'
        );
        CREATE VIRTUAL TABLE inside USING fts5 (name, tokenize = 'unicode61 remove_diacritics 0');
        """
    )


@migrations()
def m012_columns(db: Database) -> None:
    """What filters ask of photos as columns, in blocks of 4096 ids; those that change go."""
    db.executescript(
        """
        CREATE TABLE columns (
            block INTEGER NOT NULL,
            name TEXT NOT NULL,
            data BLOB NOT NULL,
            PRIMARY KEY (block, name)
        );
        CREATE TRIGGER column_of_replaced BEFORE INSERT ON photos BEGIN
            DELETE FROM columns WHERE block IN
                (SELECT id / 4096 FROM photos WHERE root_id = NEW.root_id AND path = NEW.path);
        END;
        CREATE TRIGGER column_of_added AFTER INSERT ON photos BEGIN
            DELETE FROM columns WHERE block = NEW.id / 4096;
        END;
        CREATE TRIGGER column_of_changed AFTER UPDATE ON photos BEGIN
            DELETE FROM columns WHERE block IN (OLD.id / 4096, NEW.id / 4096);
        END;
        CREATE TRIGGER column_of_removed AFTER DELETE ON photos BEGIN
            DELETE FROM columns WHERE block = OLD.id / 4096;
        END;
        CREATE TRIGGER column_of_vector AFTER INSERT ON vectors BEGIN
            DELETE FROM columns WHERE name = 'vector ' || NEW.model_id
                AND block IN (SELECT id / 4096 FROM photos WHERE digest = NEW.digest);
        END;
        CREATE TRIGGER column_of_model AFTER DELETE ON models BEGIN
            DELETE FROM columns WHERE name = 'vector ' || OLD.id;
        END;
        """
    )


@migrations()
def m013_runtimes_that_suit(db: Database) -> None:
    """What embeds pictures is left to the machine, unless ONNX Runtime was asked for."""
    db.execute("UPDATE models SET runtime = 'auto' WHERE runtime = 'torch'")


@migrations()
def m014_states(db: Database) -> None:
    """A number that is another one after each change of photos, or of what they are found by."""
    db.execute("ALTER TABLE library ADD COLUMN state INTEGER NOT NULL DEFAULT 0")
    db.executescript(
        "".join(
            f"CREATE TRIGGER state_of_{table}_{event} AFTER {event} ON {table}"
            " BEGIN UPDATE library SET state = random(); END;"
            for table in ("models", "roots", "photos", "vectors", "pictures", "captions", "stores")
            for event in ("insert", "update", "delete")
        )
    )


@migrations()
def m015_folders(db: Database) -> None:
    """What tells folders from others, whatever they are called."""
    db.execute(
        """
        CREATE TABLE folders (
            root_id INTEGER NOT NULL REFERENCES roots (id),
            path TEXT NOT NULL,
            device INTEGER NOT NULL,
            inode INTEGER NOT NULL,
            PRIMARY KEY (root_id, path)
        )
        """
    )


@migrations()
def m016_columns_of_vectors_that_go(db: Database) -> None:
    """The column of a model's vectors is made anew where one goes while its photo stays."""
    db.executescript(
        """
        DELETE FROM columns WHERE name LIKE 'vector %';
        CREATE TRIGGER column_of_vector_gone AFTER DELETE ON vectors BEGIN
            DELETE FROM columns WHERE name = 'vector ' || OLD.model_id
                AND block IN (SELECT id / 4096 FROM photos WHERE digest = OLD.digest);
        END;
        """
    )


@migrations()
def m017_readings(db: Database) -> None:
    """The text that pictures show, line by line; the words of it are filled after migrating."""
    db.executescript(
        """
        CREATE TABLE readings (
            digest TEXT NOT NULL,
            model TEXT NOT NULL,
            lines TEXT NOT NULL,
            PRIMARY KEY (digest, model)
        );
        DROP TABLE words;
        CREATE VIRTUAL TABLE words USING fts5 (
            path, title, caption, keywords, generated, parts, read,
            tokenize = 'porter unicode61 remove_diacritics 2'
        );
        DROP TABLE inside;
        CREATE VIRTUAL TABLE inside USING fts5 (
            name, read, tokenize = 'unicode61 remove_diacritics 0'
        );
        DELETE FROM columns WHERE name NOT LIKE 'vector %';
        """
        + "".join(
            f"""
            CREATE TRIGGER state_of_readings_{event} AFTER {event} ON readings BEGIN
                UPDATE library SET state = random();
            END;
            CREATE TRIGGER column_of_readings_{event} AFTER {event} ON readings BEGIN
                DELETE FROM columns WHERE name NOT LIKE 'vector %' AND block IN
                    (SELECT id / 4096 FROM photos WHERE digest = {row}.digest);
            END;
            """
            for event, row in (("insert", "NEW"), ("update", "NEW"), ("delete", "OLD"))
        )
    )


@migrations()
def m018_what_owners_noted(db: Database) -> None:
    """People, stars, places and labels, and what files beside photos tell of them."""
    db.executescript(
        """
        ALTER TABLE photos ADD COLUMN people TEXT;
        ALTER TABLE photos ADD COLUMN rating INTEGER;
        ALTER TABLE photos ADD COLUMN location TEXT;
        ALTER TABLE photos ADD COLUMN label TEXT;
        CREATE INDEX photos_with_people ON photos (id) WHERE people IS NOT NULL;
        CREATE TABLE sidecars (
            photo_id INTEGER PRIMARY KEY,
            version TEXT NOT NULL,
            covered TEXT NOT NULL
        );
        CREATE TRIGGER sidecars_of_removed AFTER DELETE ON photos BEGIN
            DELETE FROM sidecars WHERE photo_id = OLD.id;
        END;
        DELETE FROM columns;
        """
    )


@migrations()
def m019_localities(db: Database) -> None:
    """Towns, regions and countries near where photos were taken; an index run looks them up."""
    db.executescript(
        """
        CREATE TABLE localities (
            id INTEGER PRIMARY KEY,
            suburb TEXT,
            town TEXT,
            town_id INTEGER,
            region TEXT,
            region_code TEXT,
            country TEXT,
            country_code TEXT
        );
        ALTER TABLE photos ADD COLUMN locality INTEGER;
        CREATE INDEX photos_of_no_locality ON photos (id)
            WHERE locality IS NULL AND latitude IS NOT NULL AND longitude IS NOT NULL;
        CREATE INDEX photos_with_location ON photos (id) WHERE location IS NOT NULL;
        CREATE TRIGGER locality_of_changed AFTER UPDATE OF latitude, longitude ON photos
        WHEN OLD.latitude IS NOT NEW.latitude OR OLD.longitude IS NOT NEW.longitude BEGIN
            UPDATE photos SET locality = NULL WHERE id = NEW.id;
        END;
        DELETE FROM columns;
        """
    )


def _folder_of(row: str) -> str:
    """The folder right in which a photo lies."""
    return f"rtrim(rtrim({row}.path, replace({row}.path, '/', '')), '/')"


@migrations()
def m020_listings(db: Database) -> None:
    """What a folder shows while the disk and the photos say the same; each that has photos is here.

    A digest is no more as soon as a photo comes, changes or goes, or is without its vector. Paths
    that are not text have none. Not by REPLACE: a statement that has a trigger run decides on that.
    Of which sizes there are photos is asked of each new file.
    """
    db.executescript(
        f"""
        CREATE INDEX photos_by_size ON photos (size);
        CREATE TABLE listings (
            root_id INTEGER NOT NULL,
            path TEXT NOT NULL,
            model_id INTEGER,
            photos INTEGER,
            digest BLOB,
            PRIMARY KEY (root_id, path)
        ) WITHOUT ROWID;
        INSERT INTO listings (root_id, path)
            SELECT DISTINCT root_id, {_folder_of("photos")} FROM photos
            WHERE typeof(path) = 'text';
        CREATE TRIGGER listing_of_new AFTER INSERT ON photos
        WHEN typeof(NEW.path) = 'text' BEGIN
            DELETE FROM listings WHERE root_id = NEW.root_id AND path = {_folder_of("NEW")};
            INSERT INTO listings (root_id, path) VALUES (NEW.root_id, {_folder_of("NEW")});
        END;
        CREATE TRIGGER listing_of_changed
        AFTER UPDATE OF root_id, path, size, mtime_ns, digest ON photos BEGIN
            UPDATE listings SET digest = NULL
                WHERE root_id = OLD.root_id AND path = {_folder_of("OLD")};
            DELETE FROM listings WHERE root_id = NEW.root_id AND path = {_folder_of("NEW")};
            INSERT INTO listings (root_id, path)
                SELECT NEW.root_id, {_folder_of("NEW")} WHERE typeof(NEW.path) = 'text';
        END;
        CREATE TRIGGER listing_of_gone AFTER DELETE ON photos BEGIN
            UPDATE listings SET digest = NULL
                WHERE root_id = OLD.root_id AND path = {_folder_of("OLD")};
        END;
        CREATE TRIGGER listing_of_vector_gone AFTER DELETE ON vectors BEGIN
            UPDATE listings SET digest = NULL WHERE (root_id, path) IN
                (SELECT root_id, {_folder_of("photos")} FROM photos WHERE digest = OLD.digest);
        END;
        """
    )
