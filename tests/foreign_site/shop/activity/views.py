from django.shortcuts import render
from rest_framework.decorators import api_view
from rest_framework.response import Response


def home(request):
    return render(request, "shop/home.html")


@api_view()
def prices(request):
    return Response("<b>1.000 €</b>")
