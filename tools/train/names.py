"""Renaming characters in the training text.

Other plays have other people.  A model that has memorised the training text's names pays for it on new plays, where each
speech begins with a name it has never seen: measured on the validation slice, 5.6 % of the bytes are speakers'
lines and took 8.6 % of the bits.  What carries over is to copy names from the context.  So most stretches of the
text are shown with every character renamed, consistently, to another name or to one made up of syllables of the
training text's names.
"""

import random
import re
from collections import Counter

SPEAKER = re.compile(r"(?:^|\n\n)([A-Z][^\n]*):\n")
# Upper-case words of speakers' lines that are not names.
TITLES = set(
    "A AND ANOTHER ARCHBISHOP BISHOP CARDINAL DUCHESS DUKE EARL FRIAR GARDENER GENTLEMEN II III IV KING LADY LORD LORDS"
    " MISTRESS NURSE OF PAGE PRINCE QUEEN SIR VI XI &C".split()
)
SYLLABLE = re.compile(r"[^AEIOUY]*[AEIOUY]+(?:[^AEIOUY]+$)?")


class Renamer:
    """Rewrites text.  About `share` of the stretches, each some thousand bytes long, are renamed."""

    STRETCH_SPEECHES = (30, 120)  # speeches per stretch, drawn uniformly
    KEEP, REUSE = 0.1, 0.3  # per name: stays as it is; becomes another of the text's names

    def __init__(self, text, share, seed):
        self.share, self.random = share, random.Random(seed)
        words = Counter(word for line in SPEAKER.findall(text) for word in line.split())
        self.names = sorted(word for word in words if word.isupper() and word not in TITLES)
        self.syllables = [SYLLABLE.findall(name) for name in self.names]
        self.pattern = re.compile(r"\b(" + "|".join(self.names + [n.title() for n in self.names]) + r")\b")
        self.blocks = text.split("\n\n")

    def made_up(self):
        """Two to four syllables: a first one, perhaps middle ones, a last one, each from some name."""
        first, *middle, last = [self.random.choice(self.syllables) for _ in range(self.random.choice((2, 2, 3)))]
        name = first[0] + "".join(self.random.choice(m) for m in middle) + last[-1]
        return name[:12]

    def new_name(self, name):
        draw = self.random.random()
        if draw < self.KEEP:
            return name
        return self.random.choice(self.names) if draw < self.KEEP + self.REUSE else self.made_up()

    def rewrite(self):
        """The whole text once, with new names."""
        out, at = [], 0
        while at < len(self.blocks):
            end = at + self.random.randint(*self.STRETCH_SPEECHES)
            stretch = "\n\n".join(self.blocks[at:end])
            if self.random.random() < self.share:
                mapping = {name: self.new_name(name) for name in self.names}
                mapping.update({old.title(): new.title() for old, new in mapping.items()})
                stretch = self.pattern.sub(lambda match: mapping[match[0]], stretch)
            out.append(stretch)
            at = end
        return "\n\n".join(out)
