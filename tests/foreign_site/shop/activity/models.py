from django.conf import settings
from django.db import models


class Visit(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)

    def __str__(self):
        return f"Visit of {self.user}"
