"""What the shop expects of the app after it has been installed."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

from django.contrib import admin
from django.core.management import call_command
from django.test import AsyncClient, Client, TestCase
from django.urls import reverse

from shop.tests import people

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
NOTIFICATION = {
    "events": [
        {
            "id": "1",
            "timestamp": "2026-11-20T12:00:00Z",
            "action": "push",
            "target": {
                "mediaType": MANIFEST,
                "digest": f"sha256:{64 * 'a'}",
                "size": 1234,
                "repository": "kunde/web",
                "url": f"https://registry.example.com/v2/kunde/web/manifests/sha256:{64 * 'a'}",
                "tag": "v1",
            },
            "request": {"id": "2", "addr": "192.0.2.1:1000", "host": "registry", "method": "PUT"},
            "actor": {"name": "kunde"},
            "source": {"addr": "registry:5000", "instanceID": "3"},
        }
    ]
}


def configuration() -> str:
    output = io.StringIO()
    call_command("registry_config", stdout=output)
    return output.getvalue()


class RegistryTest(TestCase):
    def setUp(self) -> None:
        self.boss = people.create("boss", is_staff=True, is_superuser=True)
        self.kunde = people.create("kunde")
        text = configuration()
        self.assertIn("url: https://www.example.com/registry/api/v0/notifications/registry", text)
        (token,) = re.findall(r"Bearer (\w+)", text)
        answer = Client().post(
            "/registry/api/v0/notifications/registry",
            json.dumps(NOTIFICATION),
            content_type="application/vnd.docker.distribution.events.v1+json",
            headers={"authorization": f"Bearer {token}"},
        )
        self.assertEqual(answer.status_code, 200, answer.content)
        self.client.force_login(self.boss)

    def page(self, url: str, client: Client | None = None, **data: Any) -> str:
        response = (client or self.client).get(url, data)
        self.assertEqual(response.status_code, 200, f"{url} {response.headers}")
        text = b"".join(response).decode() if response.streaming else response.content.decode()
        return text

    def test_activity_tab_shows_the_push_inside_the_pages_of_the_shop(self) -> None:
        page = self.page("/registry/repositories/kunde/web/activity/")

        self.assertIn("kunde/web:v1", page)
        self.assertIn("Laden am Eck", page)
        self.assertRegex(page, r'viewBox="0 0 \d+ 1000"')
        self.assertIn("20. November 2026 13:00", page)
        self.assertIn("sha256:aaaaaaaa", page)
        self.assertIn('maxlength="2000"', page)
        self.assertIn("/statisch/", page)

    def test_anonymous_people_are_sent_to_the_login_page_of_the_shop(self) -> None:
        for url in (
            "/registry/activity/",
            "/registry/repositories/",
            "/registry/settings/",
            "/registry/api/v0/docs/",
        ):
            page = Client().get(url)
            self.assertRedirects(page, f"/anmelden/?next={url}")

    def test_every_page_of_the_app_opens(self) -> None:
        names = {"namespace": "kunde", "name": "web"}
        for name in ("info", "permissions", "promotions", "mirrors", "pruning", "repository_settings"):
            self.page(reverse(f"registry_repositories:{name}", kwargs=names))
        for name in ("list", "new", "organizations", "preferences", "password", "tokens"):
            self.page(reverse(f"registry_repositories:{name}"))
        self.page(reverse("registry_activity:tags", kwargs=names))
        self.page(reverse("registry_activity:all"))
        self.page(reverse("registry_activity:all-atom"))
        for user in (self.boss, self.kunde):
            self.page(reverse("registry_activity:user", args=[user.get_username()]))
        self.page("/registry/api/v0/docs/")

    def test_unknown_users_have_no_page(self) -> None:
        client = Client()
        client.force_login(self.kunde)
        for name in ("nobody", "nobody@example.com", "0"):
            url = reverse("registry_activity:user", args=[name])
            self.assertEqual(client.get(url).status_code, 404)

    def test_names_may_contain_any_character_of_the_user_model(self) -> None:
        for name in ("a/b", "a/atom", ".", "..", "a?b", "ä#1%2F", ".", "_", "anonymous"):
            user = people.User(**{people.User.USERNAME_FIELD: name})
            if people.User.objects.filter(**{people.User.USERNAME_FIELD: name}).exists():
                continue
            user.save()
            self.client.force_login(user)
            page = self.page("/registry/activity/")
            self.assertIn("Activity", page)
            self.page(reverse("registry_activity:user", args=[name]))
            self.client.force_login(self.boss)
            self.page("/registry/activity/")
            self.page(reverse("registry_activity:user", args=[name]))

    def test_api_speaks_json_and_isnt_throttled(self) -> None:
        for _ in range(3):
            events = json.loads(self.page("/registry/api/v0/events/", repository="kunde/web"))["results"]
        self.assertIn("kunde/web:v1", [event["tag"] for event in events])
        self.assertEqual(Client().get("/registry/api/v0/events/").status_code, 401)

    def test_schema_describes_only_the_api_of_the_app(self) -> None:
        schema = self.page("/registry/api/v0/schema/", format="json")

        self.assertIn("/registry/api/v0/events/", schema)
        self.assertNotIn("preise", schema)

    def test_export_contains_the_push(self) -> None:
        response = self.client.post("/registry/repositories/kunde/web/activity/", {"export": "csv"})
        rows = list(csv.DictReader(io.StringIO(b"".join(response).decode())))

        self.assertTrue([row for row in rows if row["tag"] == "kunde/web:v1"])

    async def test_export_is_streamed_by_an_asgi_server(self) -> None:
        client = AsyncClient()
        await client.aforce_login(self.boss)
        for name in ("csv", "jsonl"):
            response = await client.post("/registry/repositories/kunde/web/activity/", {"export": name})
            self.assertTrue(response.is_async)
            text = "".join([piece.decode() async for piece in response])
            self.assertIn("v1", text)

    def test_every_admin_page_of_the_app_opens(self) -> None:
        for model in list(admin.site._registry):
            if not model._meta.app_label.startswith(("registry_", "django_celery_beat")):
                continue
            url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
            self.assertEqual(self.client.get(url, follow=True).status_code, 200, url)
            add = self.client.get(f"{url}add/", follow=True)
            self.assertIn(add.status_code, (200, 403), url)
            row = model._default_manager.first()
            if row is not None:
                self.assertEqual(self.client.get(f"{url}{row.pk}/change/", follow=True).status_code, 200, url)
        self.page(reverse("admin:registry_activity_event_overview"))

    def test_effective_access_is_shown(self) -> None:
        from repositories.models import Repository

        repository = Repository.objects.named("kunde/web").get()
        page = self.page(reverse("admin:registry_repositories_repository_access", args=[repository.pk]))
        if people.User.USERNAME_FIELD == "username":
            self.assertIn("kunde", page)
        self.page(reverse("admin:registry_repositories_user_access", args=[self.kunde.pk]))
        for key in ("nobody", "0", "99999999999999999999"):
            url = reverse("admin:registry_repositories_user_access", args=[key])
            self.assertEqual(self.client.get(url).status_code, 404)

    def test_grants_are_given_and_revoked(self) -> None:
        from repositories.models import Namespace, RepositoryUserPermission

        Namespace.objects.filter(name="kunde").update(user=self.kunde)  # for users with e-mail addresses
        nutzer = people.create("nutzer")
        self.client.post(
            "/registry/repositories/kunde/web/permissions/",
            {"holder": nutzer.get_username(), "codename": "level_read", "grant": ""},
        )
        (grant,) = RepositoryUserPermission.objects.all()
        RepositoryUserPermission.objects.filter(pk=grant.pk).update(id=1234567)
        page = self.page("/registry/repositories/kunde/web/permissions/")
        self.assertIn(nutzer.get_username(), page)
        self.assertNotIn("1.234.567", page)
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]+)">', page))
        self.client.post("/registry/repositories/kunde/web/permissions/", {**fields, "revoke": ""})
        self.assertFalse(RepositoryUserPermission.objects.exists())

    def test_failed_login_keeps_the_name_tried(self) -> None:
        Client().post("/anmelden/", {"username": "kunde", "password": "falsch"})
        events = json.loads(self.page("/registry/api/v0/events/", page_size=100))["results"]
        names = [event["actor"]["id"] for event in events if event["category"] == "account"]
        self.assertIn("kunde", names)

    def test_deleted_user_leaves_the_trail_complete(self) -> None:
        self.kunde.delete()
        self.page("/registry/activity/")
        self.page(reverse("admin:registry_activity_event_changelist"))
