from django.apps import AppConfig


class VisitsConfig(AppConfig):
    name = "shop.activity"
    label = "activity"
