"""The database role for the web server on PostgreSQL. The tests use the SQL in `docs/operating.md`."""

from __future__ import annotations

import re
from pathlib import Path

OPERATING = Path(__file__).resolve().parent.parent / "docs" / "operating.md"
WEB_ROLE = "activity_web"


def web_role_sql() -> str:
    """Return SQL that creates the role, if it doesn't exist yet, and grants it its permissions."""
    (sql,) = re.findall(r"```sql\n(.*?)```", OPERATING.read_text(), re.DOTALL)
    create, grants = sql.split(";", 1)
    assert create.startswith(f"CREATE ROLE {WEB_ROLE} ")
    # Roles belong to the whole cluster, so another test may have created the role already.
    return f"""
        DO $$ BEGIN
            {create};
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END $$;
        {grants}
    """
