#!/usr/bin/python3
"""Prints hashes as other systems store them, made by their own libraries, as JSON.

Debian: apt-get install python3-argon2 python3-bcrypt python3-django python3-passlib python3-werkzeug
hashes.json beside this file was made with Debian 13's Django and Werkzeug; older ones know no scrypt, and leave it out.
"""

import json
import unicodedata
import warnings
from importlib.metadata import version

import argon2
import bcrypt
import django
from django.conf import settings

warnings.simplefilter("ignore")

HASHERS = ["PBKDF2PasswordHasher", "PBKDF2SHA1PasswordHasher", "Argon2PasswordHasher", "BCryptSHA256PasswordHasher", "BCryptPasswordHasher", "ScryptPasswordHasher"]
from django.contrib.auth import hashers

settings.configure(PASSWORD_HASHERS=["django.contrib.auth.hashers." + name for name in HASHERS if hasattr(hashers, name)])
from django.contrib.auth.hashers import get_hashers, make_password
from passlib import hash as passlib
from werkzeug.security import generate_password_hash

PLAIN = "correct horse battery"
# as it comes from a keyboard that does not compose
DECOMPOSED = unicodedata.normalize("NFD", "pässwörd für Zoë ☕")
# longer than the 72 bytes that bcrypt looks at, and than the 255 after which old ones began to count anew
LONG = "a passphrase of many words, longer than the seventy-two bytes that bcrypt looks at ☕" * 3

vectors = []


def add(library, name, make, passwords=(PLAIN, DECOMPOSED)):
    for password in passwords:
        vectors.append({"name": name, "library": library, "password": password, "hash": make(password)})


def add_django():
    library = "Django " + django.get_version()
    for hasher in get_hashers():
        add(library, hasher.algorithm, lambda password: make_password(password, hasher=hasher), (PLAIN,))
        hasher.iterations, hasher.rounds, hasher.memory_cost = 1000, 5, 1024
        add(library, hasher.algorithm + ", cheap", lambda password: make_password(password, hasher=hasher), (PLAIN, DECOMPOSED, LONG))


def add_werkzeug():
    library = "Werkzeug " + version("werkzeug")
    add(library, "default", generate_password_hash, (PLAIN,))
    for method in ["pbkdf2:sha1:1000", "pbkdf2:sha256:1000", "pbkdf2:sha512:1000", "scrypt:1024:4:2"]:
        try:
            generate_password_hash(PLAIN, method)
        except ValueError:
            continue
        add(library, method, lambda password: generate_password_hash(password, method))


def add_passlib():
    library = "passlib " + version("passlib")
    for ident in ["2a", "2b", "2y"]:
        add(library, "bcrypt " + ident, passlib.bcrypt.using(ident=ident, rounds=5).hash, (PLAIN, DECOMPOSED, LONG))
    add(library, "bcrypt-sha256", passlib.bcrypt_sha256.using(rounds=5).hash, (PLAIN, DECOMPOSED, LONG))
    for ident in ["2a", "2b"]:
        add(library, "bcrypt-sha256 version 1 " + ident, passlib.bcrypt_sha256.using(version=1, ident=ident, rounds=5).hash)
    add(library, "django_bcrypt", passlib.django_bcrypt.using(rounds=5).hash)
    add(library, "django_bcrypt_sha256", passlib.django_bcrypt_sha256.using(rounds=5).hash)
    add(library, "pbkdf2", passlib.pbkdf2_sha1.using(rounds=1000).hash)
    add(library, "pbkdf2-sha256", passlib.pbkdf2_sha256.hash)
    add(library, "pbkdf2-sha512", passlib.pbkdf2_sha512.hash)
    add(library, "scrypt", passlib.scrypt.using(rounds=10).hash)
    passlib.argon2.get_backend()  # using() fails before
    add(library, "argon2", passlib.argon2.using(rounds=2, memory_cost=1024).hash)
    add(library, "django_argon2", passlib.django_argon2.using(rounds=2, memory_cost=1024).hash)


def add_bcrypt():
    for prefix in [b"2a", b"2b"]:
        add("bcrypt " + bcrypt.__version__, prefix.decode(), lambda password: bcrypt.hashpw(password.encode(), bcrypt.gensalt(6, prefix)).decode())


def add_argon2():
    def hash_secret(password, kind, number):
        return argon2.low_level.hash_secret(password.encode(), b"a salt of sixteen", 2, 4096, 2, 24, kind, number).decode()

    for kind in argon2.low_level.Type:
        for number in [16, 19]:
            add("argon2-cffi " + version("argon2-cffi"), f"{kind.name} {number}", lambda password: hash_secret(password, kind, number))
    add("argon2-cffi " + version("argon2-cffi"), "default", argon2.PasswordHasher().hash, (PLAIN,))


def add_published():
    firebase = "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk={}${}${}".format
    add("github.com/firebase/scrypt, its README", "fbscrypt", lambda _: firebase(
        "jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==", "42xEC+ixf3L2lw==",
        "lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ=="), ("user1password",))
    add("github.com/supabase/auth, its tests", "fbscrypt", lambda _: firebase(
        "ou9tdYTGyYm8kuR6Dt0Bp0kDuAYoXrK16mbZO4yGwAn3oLspjnN0/c41v8xZnO1n14J3MjKj1b2g6AUCAlFwMw==", "C0sHCg9ek77hsg==",
        "zKVTMvnWVw5BBOZNUdnsalx4c4c7y/w7IS5p6Ut2+CfEFFlz37J9huyQfov4iizN8dbjvEJlM5tQaJP84+hfTw=="), ("mytestpassword",))


for make in [add_django, add_werkzeug, add_passlib, add_bcrypt, add_argon2, add_published]:
    make()
print("[\n" + ",\n".join(json.dumps(vector, ensure_ascii=False) for vector in vectors) + "\n]")
