"""What captions name: their nouns, alone and with the word before, in the forms people type."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

# What stands beside nouns in captions, and is none.
_BESIDE_NOUNS = """
    a an the this that these those his her its their some several two three four five many is are
    was be being been and or of in on at to for with by from into onto over under near next up down
    out off through across along around behind front beside between while as who which where when
    there it he she they them him one other another each all no not very it's has have having can
"""
_LITTLE = frozenset(_BESIDE_NOUNS.split())
_BEFORE_VERBS = {"is", "are", "to", "who", "and"}
_RARE = 20  # times a word is met, at least, to be judged
_SHARE = 0.3  # of its places that must be a noun's
_SURE = 0.45  # the same, to be called by the word before it as well
_TIMES = 12  # photos that must show what has a name
_IRREGULAR = {"person": "people", "child": "children", "sheep": "sheep"}
_SINGULAR = {many: one for one, many in _IRREGULAR.items()}
FORMS = 6


def names_of(captions: Sequence[Sequence[str]]) -> tuple[list[str], list[list[int]]]:
    """What the captions of photos name, the commonest first, and for each photo the numbers."""
    split = [[_words(text) for text in texts] for texts in captions]
    shares = noun_shares([words for texts in split for words in texts])
    found = [{name for words in texts for name in _named(words, shares)} for texts in split]
    times = Counter(name for names in found for name in names)
    names = [name for name, count in times.most_common() if count >= _TIMES]
    # Of equally many the order would be that of sets, which no two runs share.
    names.sort(key=lambda name: (-times[name], name))
    numbers = {name: number for number, name in enumerate(names)}
    return names, [sorted(numbers[one] for one in some if one in numbers) for some in found]


def forms_of(name: str) -> list[str]:
    """A name in the forms that people type: "dog", "a dog", "dogs", "a photo of a dog", ..."""
    one, many = f"{'an' if name[0] in 'aeiou' else 'a'} {name}", plural(name)
    forms = [name, one, many, f"a photo of {one}", f"a photo of {many}", f"{one} in a photo"]
    assert len(forms) == FORMS
    return forms


def plural(name: str) -> str:
    """Of a noun, maybe with words before it."""
    head, _, noun = name.rpartition(" ")
    if noun in _IRREGULAR:
        many = _IRREGULAR[noun]
    elif noun.endswith("man"):
        many = f"{noun[:-3]}men"
    elif noun.endswith("y") and noun[-2:-1] not in ("a", "e", "i", "o", "u"):
        many = f"{noun[:-1]}ies"
    else:
        many = noun + ("es" if noun.endswith(("ch", "sh", "x", "s")) else "s")
    return f"{head} {many}".strip()


def noun_shares(texts: Iterable[Sequence[str]]) -> dict[str, float]:
    """The words that stand where nouns stand, each with how often of its times it does."""
    times: Counter[str] = Counter()
    as_noun: Counter[str] = Counter()
    for words in texts:
        for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
            times[word] += 1
            ends = not after or after in _LITTLE or after.endswith("ing")
            as_noun[word] += ends and bool(before) and before not in _BEFORE_VERBS
    shares = {word: as_noun[word] / count for word, count in times.items() if count >= _RARE}
    return {word: share for word, share in shares.items() if share > _SHARE and _may_name(word)}


def _may_name(word: str) -> bool:
    return len(word) > 2 and word not in _LITTLE and not word.endswith(("ing", "ly"))


def _named(words: Sequence[str], shares: dict[str, float]) -> Iterable[str]:
    for before, word in zip(["", *words], words, strict=False):
        noun = _singular(word, shares)
        if noun not in shares:
            continue
        yield noun
        if shares[noun] > _SURE and before and before not in _LITTLE and not before.endswith("ly"):
            yield f"{before} {noun}"


def _singular(word: str, nouns: dict[str, float]) -> str:
    if word in _SINGULAR:
        return _SINGULAR[word]
    if word.endswith("men") and f"{word[:-3]}man" in nouns:
        return f"{word[:-3]}man"
    tried = [(3, "y")] if word.endswith("ies") else [(1, ""), (2, "")]
    if word.endswith("s") and not word.endswith("ss"):
        for cut, end in tried:
            if word[:-cut] + end in nouns:
                return word[:-cut] + end
    return word


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+(?:-[a-z]+)*", text.lower())
