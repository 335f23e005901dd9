"""Reads events on the command line: follows them, searches them, or exports them."""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Iterable
from itertools import chain, islice
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from activity.feed import export, resumable, search, search_language, tail
from activity.feed.plans import Plan
from activity.feed.reading import iter_pages
from activity.feed.resumable import Cursor
from activity.models import Event
from repositories.access.levels import REGISTRY_ROLES
from repositories.access.resolving import Access
from repositories.utils.keyset import InvalidCursor

EVERYTHING = Access(everywhere=REGISTRY_ROLES["audit_registry"])
"""What whoever can run commands sees, who could also read the database."""
PAGE = 1_000
WAIT = 60
"""How long to wait for events at a time, in seconds."""


class Command(BaseCommand):
    """`manage.py events tail|search|export`"""

    help = "Prints events as exports have them: one JSON object in each line, or CSV."

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True)
        follow = commands.add_parser("tail", help="prints events in the order in which they were committed")
        follow.add_argument(
            "--after", type=_whole_number, default=0, metavar="POSITION", help="begin after this position"
        )
        follow.add_argument("--follow", action="store_true", help="wait for new events, until interrupted")
        find = commands.add_parser("search", help="prints the events that match a search, newest first")
        find.add_argument("query", help="a search as on the site, such as `type:delete -actor:jane`")
        find.add_argument(
            "--limit", type=_whole_number, default=100, help="the maximum number (default: 100)"
        )
        save = commands.add_parser("export", help="prints all events, in the order of commits")
        save.add_argument("--cursor", help="resume an export after the line with this cursor")
        save.add_argument("--format", choices=export.CONTENT_TYPES, default="jsonl")
        for each in (follow, find, save):
            each.add_argument("--user", metavar="USERNAME", help="print only what this user may see")

    def handle(self, *args: Any, command: str, user: str | None, **options: Any) -> None:
        access = EVERYTHING if user is None else Access.for_user(_active_user(user))
        run: Any = {"tail": self.tail, "search": self.search, "export": self.export}[command]
        try:
            run(access, **options)
        except KeyboardInterrupt:
            pass
        except BrokenPipeError:
            # Whoever read the output has ended. Python would complain when it flushes the output at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def tail(self, access: Access, *, after: int, follow: bool, **_: Any) -> None:
        columns = {"position": lambda event: event.position, **export.columns_for(access, "jsonl")}
        while True:
            page = tail.read_page(access, after, PAGE)
            self.print([export.as_lines(page.rows, "jsonl", access, columns)])
            after = page.position
            if page.is_last and not follow:
                return
            if page.is_last:
                tail.wait_for_newer(after, time.monotonic() + WAIT)

    def search(self, access: Access, *, query: str, limit: int, **_: Any) -> None:
        parsed = search_language.parse(query, timezone.get_current_timezone())
        plan = search.plan(Plan(Event.objects.visible_to(access), access), parsed)
        if plan.problems:
            raise CommandError("\n".join(plan.problems))
        for notice in plan.notices:
            self.stderr.write(notice)
        found = chain.from_iterable(iter_pages(plan, PAGE))
        events = [*islice(found, limit)]
        self.print([export.as_lines(events, "jsonl", access, export.columns_for(access, "jsonl"))])

    def export(self, access: Access, *, cursor: str | None, format: str, **_: Any) -> None:
        try:
            begin = Cursor.begin() if cursor is None else Cursor.parse(cursor)
            pages = resumable.pages(Event.objects.visible_to(access), access, begin)
            columns = resumable.columns(access, begin, format)
            header = export.header_of(columns, format) if cursor is None else ""
            self.print(export.export(pages, format, access, columns, header))
        except (InvalidCursor, export.EventsRemoved) as error:
            raise CommandError(str(error)) from error

    def print(self, pieces: Iterable[str]) -> None:
        for piece in pieces:
            self.stdout.write(piece, ending="")
            self.stdout.flush()


def _whole_number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ArgumentTypeError(f"{text} is not a whole number")
    return int(text)


def _active_user(username: str) -> Any:
    users = get_user_model()
    try:
        user = users._default_manager.get_by_natural_key(username)
    except users.DoesNotExist as error:
        raise CommandError(f"There is no user {username}.") from error
    if not user.is_active:
        raise CommandError(f"{username} is not active.")
    return user
