from django.contrib import admin
from django.contrib.auth.views import LoginView
from django.urls import include, path

from shop.activity import views

urlpatterns = [
    path("", views.home),
    path("buero/", admin.site.urls),
    path("anmelden/", LoginView.as_view(template_name="shop/login.html")),
    path("api/", include(([path("preise/", views.prices, name="prices")], "api"))),
]
