"""What a data scientist writes, for anywhere: no key, no token, no word of where it runs. Prints what it read.

python jobs_script.py DSN [OUT]
"""

import json
import os
import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import fsspec  # noqa: E402 - the libraries warn of each other
import psycopg  # noqa: E402
import tensorflow as tf  # noqa: E402
from google.cloud import aiplatform  # noqa: E402

import remit  # noqa: E402
import remit.database  # noqa: E402
import remit.tensorflow  # noqa: E402

DSN, OUT = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
PROJECT = os.environ["GOOGLE_CLOUD_PROJECT"]
found = {}

# Blob Storage by adlfs, with the DefaultAzureCredential that it makes by itself
files = fsspec.filesystem("az", account_name="contosofraudtest", anon=False)
here = Path(os.environ.get("TMPDIR", ".")) / "payments.tfrecord"
files.get("features/payments/1.tfrecord", str(here))
found["adlfs"] = [each.numpy().decode() for each in tf.data.TFRecordDataset(str(here))][:2]
here.unlink()

# the same by a dataset, both files
records = remit.tensorflow.tfrecords("az://contosofraudtest/features/payments/*.tfrecord")
found["blob"] = len(list(records))

# Cloud Storage by TensorFlow itself
records = tf.data.TFRecordDataset(f"gs://{PROJECT}-data/payments/2.tfrecord")
found["bucket"] = [each.numpy().decode() for each in records][-1]

# Vertex AI by Google's own SDK
aiplatform.init(project=PROJECT, location="us-central1", api_transport="rest")
found["models"] = len(aiplatform.Model.list())

# PostgreSQL by psycopg, and as a dataset
with psycopg.connect(DSN, password=remit.database.password("remit")) as connection:
    found["rows"] = connection.execute("SELECT count(*), session_user FROM claims").fetchone()
rows = remit.tensorflow.rows(
    "SELECT id, note FROM claims WHERE id <= 20",
    connect=lambda: remit.database.Connection.connect(DSN, resource="remit", application_name="train.py"),
    batch=8,
)
found["batches"] = [int(batch["id"].shape[0]) for batch in rows]

text = json.dumps(found, sort_keys=True)
print(text)
if OUT:
    Path(OUT).write_text(text)
