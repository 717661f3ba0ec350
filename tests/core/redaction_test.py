"""No password, token or header of a tracker stands in a text."""

import logging

import pytest

from alcurr.core import redaction
from alcurr.core.errors import UserError


@pytest.mark.parametrize(
  "text",
  [
    "GET http://user:hunter2@host:5000/api failed",
    "http://user:hun@ter2/hunter2@host is no address",
    "postgresql://host/db?user=u&password=hunter2",
    "{'password': 'hunter2'}",
    "https://host/x?sv=1&sig=hunter2",
    "Authorization: Bearer hunter2hunter2",
  ],
)
def test_secrets_are_hidden(text):
  hidden = redaction.redact(text)
  assert "hunter2" not in hidden and "..." in hidden
  error = UserError("network", text, text)
  assert "hunter2" not in str(error) + error.place + repr(error.args)


@pytest.mark.parametrize(
  "text",
  [
    "http://127.0.0.1:5000/#/experiments/1 and me@example.org",
    "sqlite:////tmp/a/mlflow.db: 3 tokens, a secret garden",
    "samplers.bandit: expected a name or a call such as rank(window=500)",
  ],
)
def test_other_texts_stay(text):
  assert redaction.redact(text) == text


def test_a_decoded_password_is_hidden(monkeypatch):
  monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:a%40b%40c%40d@host")
  monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "0123456789")
  assert redaction.redact("a@b@c@d of 0123456789") == "... of ..."
  assert redaction.redact("secretly", "http://x:secretly@y") == "..."


def test_log_records_are_redacted():
  record = logging.makeLogRecord({"msg": "%s", "args": ("ftp://a:bcd@host",)})
  assert redaction.redact_record(record)
  assert record.getMessage() == "ftp://...@host"
