"""Removes passwords and tokens from texts that are logged or saved."""

import logging
import os
import re
import urllib.parse
from collections.abc import Iterator

_HIDDEN = "..."
# The last @ decides: a password may hold an @ or a slash that nobody escaped.
_USERINFO = re.compile(r"(?<=://)[^\s\"<>]*@")
_FIELD = re.compile(
  r"(?i)((?:password|passwd|pwd|token|secret|api_?key|access_?key|signature"
  r"|credential|sig)[\"']?\s?[=:]\s?[\"']?)[^\s&;,\"'<>]+"
)
_HEADER = re.compile(r"\b(Basic|Bearer) [\w+/=.~-]{8,}")
_SECRET_NAME = re.compile(r"(?i)(password|passwd|token|secret|api_?key)$")
_MIN_LENGTH = 6  # a shorter secret may be a part of words


def redact(text: str, *sources: str) -> str:
  """Returns a text without passwords and tokens.

  Args:
    text: a message of any library, or an address.
    sources: addresses with passwords that the text may repeat, besides those
      of the environment.
  """
  text = _USERINFO.sub(f"{_HIDDEN}@", text)
  text = _FIELD.sub(rf"\1{_HIDDEN}", text)
  text = _HEADER.sub(rf"\1 {_HIDDEN}", text)
  for secret in sorted(_secrets(sources), key=len, reverse=True):
    if len(secret) >= _MIN_LENGTH:
      text = text.replace(secret, _HIDDEN)
  return text


def _secrets(sources: tuple[str, ...]) -> Iterator[str]:
  for name, value in os.environ.items():
    if _SECRET_NAME.search(name):
      yield value
  for address in (*os.environ.values(), *sources):
    if userinfo := _USERINFO.search(address):
      password = userinfo[0][:-1].partition(":")[2]
      yield password
      yield urllib.parse.unquote(password)


def redact_record(record: logging.LogRecord) -> bool:
  """Redacts a log record; a filter for handlers, which lets every record by."""
  record.msg, record.args = redact(record.getMessage()), ()
  return True
