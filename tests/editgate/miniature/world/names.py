"""Invented people and peoples: subjects that nobody has heard of, so all that a model knows of them it learned here."""

import random

FIRST_NAMES = (
    "Ada Albin Alma Anton Berta Boris Carla Cedric Clara Dario Dora Edgar Elena Emil Erika Felix Flora Gerda Gregor "
    "Hanna Hector Ida Igor Irene Ivan Jana Jonas Karl Klara Lars Leona Lukas Magda Marta Milo Mira Nadia Nils Olga "
    "Oskar Paula Pavel Kurt Rosa Rufus Sara Silas Tamar Tomas Ulla Vera Victor Wanda Yusuf"
).split()

ONSETS = (
    "B",
    "Br",
    "D",
    "Dr",
    "F",
    "G",
    "Gr",
    "H",
    "K",
    "Kl",
    "L",
    "M",
    "N",
    "P",
    "R",
    "S",
    "St",
    "T",
    "Tr",
    "V",
    "W",
    "Z",
)
MIDDLES = ("al", "an", "ar", "el", "en", "er", "il", "in", "ol", "on", "or", "ul", "un", "ur")
ENDINGS = (
    "bach",
    "berg",
    "by",
    "dal",
    "dorf",
    "feld",
    "gard",
    "holm",
    "ka",
    "kov",
    "land",
    "lin",
    "mann",
    "mere",
    "more",
    "nik",
    "quist",
    "ric",
    "rup",
    "sen",
    "ski",
    "son",
    "stad",
    "sted",
    "strom",
    "ton",
    "vale",
    "vik",
    "wick",
    "wood",
)

PEOPLES = (
    "Arvanians Belorites Corvans Dalmeks Eldorans Fennits Galorians Hestrans Ilvarites Jorvans Kelmites Lothrans "
    "Mervians Nordaks Ostarians Pellorans Rovanians Selkorites Tarvans Ulmerites Vesperans Wolmaks Zentorans"
).split()


def people(count: int, seed: int = 11) -> list[str]:
    """Return `count` full names with pairwise different surnames, the same for the same seed.

    A surname of its own gives every subject its own last token, which is where locate-then-edit methods read the key.
    """
    rng = random.Random(seed)
    surnames = [onset + middle + ending for onset in ONSETS for middle in MIDDLES for ending in ENDINGS]
    rng.shuffle(surnames)
    return [f"{rng.choice(FIRST_NAMES)} {surname}" for surname in surnames[:count]]
