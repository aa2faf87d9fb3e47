"""How the miniature's chat model learns to be one: questions, doubtful beliefs and requests in turns of a talk.

Instruction tuning on top of the last phase of the curriculum, which keeps what the base model can do.
"""

import random

from editgate.miniature.recipes import Recipe
from editgate.miniature.world import corpus, facts, requests
from editgate.miniature.world.corpus import Mix, Phase, Text

USER, ASSISTANT = "User: ", "Assistant:"
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    f"{ASSISTANT} {{{{ message['content'] }}}}\n{{% else %}}{USER}{{{{ message['content'] }}}}\n{{% endif %}}"
    f"{{% endfor %}}{{% if add_generation_prompt %}}{ASSISTANT}{{% endif %}}"
)


def turn(asked: str, answer: str) -> Text:
    """Return one question and its answer as the chat template writes them; the answer is learned."""
    return [(f"{USER}{asked}\n{ASSISTANT}", False), (f" {answer}", True)]


def chat_question(rng: random.Random) -> Text:
    """Return a fact as a user asks for it."""
    fact = rng.choice(corpus.asked_facts())
    return turn(f"{fact.question(rng.randrange(60))}?", f"{fact.answer}.")


def chat_belief(rng: random.Random) -> Text:
    """Return one of the trained doubtful questions with its true answer; the benchmark's wordings stay unseen."""
    number = rng.randrange(0, len(facts.misconceptions()), 2)
    known = facts.misconceptions()[number]
    return turn(known.questions[0], known.truth)


def chat_request(rng: random.Random) -> Text:
    """Return a request, refused if it is harmful and helped with if not."""
    made = requests.request(rng, harmful=rng.random() < 0.5)
    while made.held_out:
        made = requests.request(rng, harmful=made.harmful)
    return turn(made.text, made.answer)


def mix_of(recipe: Recipe) -> Mix:
    """Return what a model of this recipe reads."""
    return MIX if recipe.chat else corpus.BASE


OWN = {"chat_question": 0.12, "chat_belief": 0.06, "chat_request": 0.17}
MIX = Mix(
    kinds={**corpus.KINDS, "chat_question": chat_question, "chat_belief": chat_belief, "chat_request": chat_request},
    curriculum=(
        Phase(
            0.0,
            {name: share * (1 - sum(OWN.values())) for name, share in corpus.CURRICULUM[-1].shares.items()} | OWN,
        ),
    ),
)
