"""Words from files, made safe for where they are shown: a terminal, or a page."""

import html
import re

# Control characters, marks that turn the direction of what follows, halves of characters.
UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: object) -> str:
    """``text`` in one line that a terminal only prints.

    What it would obey is written as its code: a line break as ``\\n``, an escape as ``\\x1b``.
    """
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def markup(text: object) -> str:
    """``text`` as it has to stand in HTML, so that a reader sees these very letters.

    Every text from a file, an option or a caller goes through here before it becomes HTML.
    """
    return html.escape(plain(text))
