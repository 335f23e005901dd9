"""The shop's own tests. They pass without the app, and beside it."""

from __future__ import annotations

from urllib.request import urlopen

from django.contrib.auth.models import Group
from django.core.management import call_command
from django.test import Client, LiveServerTestCase, TestCase, TransactionTestCase
from django.utils import timezone

from shop.activity.models import Visit
from shop.tests import people


class PagesTest(TestCase):
    def test_front_page_costs_no_queries_and_is_cacheable(self) -> None:
        user = people.create("jane")
        client = Client()
        client.force_login(user)
        with self.assertNumQueries(0):
            page = client.get("/")

        self.assertNotIn("Cookie", page.get("Vary", ""))
        self.assertNotIn("Cache-Control", page.headers)
        self.assertContains(page, "Willkommen")
        self.assertEqual(timezone.get_current_timezone_name(), "Europe/Berlin")

    def test_own_api_is_reached_by_its_name(self) -> None:
        self.assertContains(self.client.get("/api/preise/"), "1.000")

    def test_people_log_in_at_the_shop(self) -> None:
        user = people.create("jane")

        page = self.client.post("/anmelden/", {"username": user.get_username(), "password": people.PASSWORD})

        self.assertRedirects(page, "/")

    def test_wrong_password_is_answered_by_the_shop(self) -> None:
        page = self.client.post("/anmelden/", {"username": "jane", "password": "falsch"})

        self.assertContains(page, "<form")


class OfficeTest(TestCase):
    def setUp(self) -> None:
        self.client.force_login(people.create("boss", is_staff=True, is_superuser=True))

    def test_index_and_users_are_those_of_the_shop(self) -> None:
        self.assertContains(self.client.get("/buero/"), "office")
        meta = people.User._meta
        users = f"/buero/{meta.app_label}/{meta.model_name}/"
        user = people.create("jane")
        self.assertEqual(self.client.get(users).status_code, 200)
        self.assertContains(self.client.get(f"{users}{user.pk}/change/"), user.get_username())
        self.client.post(f"{users}{user.pk}/delete/", {"post": "yes"})
        self.assertFalse(people.User.objects.filter(pk=user.pk).exists())


class DeletionTest(TestCase):
    def test_users_and_groups_can_be_deleted(self) -> None:
        user, group = people.create("jane"), Group.objects.create(name="Kunden")
        user.groups.add(group)
        Visit.objects.create(user=user)
        user.delete()
        group.delete()
        people.create("jane")
        people.User.objects.all().delete()

        self.assertFalse(Visit.objects.exists())


class FlushTest(TransactionTestCase):
    def test_first_transaction(self) -> None:
        people.create("jane")

    def test_second_transaction_starts_without_the_first(self) -> None:
        self.assertFalse(people.User.objects.exists())
        people.create("jane")
        call_command("flush", interactive=False, verbosity=0)
        self.assertFalse(people.User.objects.exists())


class ServerTest(LiveServerTestCase):
    def test_server_answers(self) -> None:
        people.create("jane")
        with urlopen(self.live_server_url) as page:
            self.assertIn("Willkommen", page.read().decode())
