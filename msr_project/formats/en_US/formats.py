"""Times in the admin's lists and forms, in the same format as on all other pages."""

from repositories.utils.moments import AMERICAN

DATE_FORMAT = AMERICAN["day"]
DATETIME_FORMAT = AMERICAN["moment"]
