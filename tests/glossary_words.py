"""How often words are used that docs/glossary.md replaced by the field's terms.

python -m tests.glossary_words                  counts in this repository
python -m tests.glossary_words FOLDER           counts in another copy of it
python -m tests.glossary_words --lines docs     shows the uses in docs
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACES = {"src": "*.py", "docs": "*.md", "tests": "*.py", "README": "README.md"}

# The old word, and what is said now. A pattern leaves out uses that are right, as far as a pattern can.
WORDS = {
    "told, tells": (r"\btold\b|\btells?\b(?! \w+ to\b)|\btelling\b|\bnews\b", "predicted, reported, logged"),
    "hidden patches or units": (r"\bhidden (?:patch|unit|token|pixel|mask)\w*", "masked"),
    "kept units": (r"\bkept (?:unit|mask|token|block)\w*", "visible"),
    "ways to hide": (r"\bways? to hide\b|\bhiding\b", "masking strategies"),
    "pile": (r"\bpiles?\b", "unlabelled dataset"),
    "somebody's": (r"\b(?:somebody|anybody|everybody|other people)'s\b|\bof strangers\b", "third-party"),
    "carry out": (r"\bcarr(?:y|ies|ied) (?:\w+ )?out\b", "run"),
    "speaks for": (r"\bsp(?:eaks?|oke) (?:most )?(?:for|against)\b", "positive or negative evidence"),
    "learned from": (r"\blearn(?:s|ed|t)? from\b", "trained on"),
    "varied": (r"\bvar(?:y|ied|ies) (?:alike|whole|images|all|training)\b|\bimages are varied\b", "augmented"),
    "likeliest": (r"\blikeliest\b", "most probable, top-k"),
    "paint": (r"\bpaint(?:s|ed|er|ers)?\b|open_painter\b", "generate, sampler"),
    "players": (r"\b(?<!video )players?\b", "networks"),
    "judge": (r"\bjudg(?:e|es|ed|ing)\b", "evaluated with, extractor"),
    "made images": (r"\bmade images\b", "generated images"),
    "walks": (r"(?<![-`.])\bwalks?\b(?! (?:of|through) (?:a |the )?(?:folder|tree|file))", "latent interpolation"),
    "plane": (r"\b(?:last|top|coarse|whole|feature|of its|every) planes?\b", "feature map"),
    "beside": (r"\bbeside\b", "compared with, next to"),
    "left out": (r"\bleft out\b|\bleave(?:s)? (?:it |them |this )?out\b", "default, skipped, omitted"),
    "twin": (r"\btwins?\b", "parameter-matched baseline"),
    "race": (r"\braces?\b|\bcontestants?\b", "benchmark, implementation"),
    "commonest": (r"\bcommonest\b|\btaken for\b", "most frequent, predicted as"),
    "new weights": (r"\bnew weights\b", "random initialisation"),
    "honest": (r"\bhonest\w*\b", "(dropped)"),
}
SELF = {"glossary_words.py", "test_glossary_words.py"}


def files(root: Path, place: str) -> list[Path]:
    """The files of a place whose words are counted."""
    if place == "README":
        return [root / "README.md"]
    return [file for file in sorted((root / place).rglob(PLACES[place])) if file.name not in SELF]


def prose(file: Path) -> str:
    """A file with line breaks inside sentences as spaces, and without code and messages if it is a page."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        text = re.sub(
            r'`[^`\n]+`|\*\*"[^"]+"\*\*', "`code`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        )
    return re.sub(r"\n[ \t#>-]*(?=\S)", " ", text)


def counts(root: Path) -> dict[str, dict[str, int]]:
    """Of each old word, how often it is used in each place."""
    found = {place: Counter(word for file in files(root, place) for word, _ in uses(file)) for place in PLACES}
    return {word: {place: found[place][word] for place in PLACES} for word in WORDS}


def uses(file: Path) -> list[tuple[str, str]]:
    """The old words of a file, each with the text around it."""
    text = prose(file)
    return [
        (word, text[max(0, found.start() - 40) : found.end() + 40].replace("\n", " "))
        for word, (pattern, _) in WORDS.items()
        for found in re.finditer(pattern, text, re.IGNORECASE)
    ]


def main() -> None:
    """Prints a table in Markdown, or lines."""
    if sys.argv[1:2] == ["--lines"]:
        for place in sys.argv[2:] or PLACES:
            for file in files(ROOT, place):
                for word, found in uses(file):
                    print(f"{file.relative_to(ROOT)}: {word} -> {WORDS[word][1]}: {found}")
        return
    here = counts(ROOT)
    then = counts(Path(sys.argv[1])) if sys.argv[1:] else None
    print(f"| old word | now | {' | '.join(PLACES)} |\n| --- | --- |{' ---: |' * len(PLACES)}")
    for word, (_, now) in WORDS.items():
        cells = [f"{then[word][place]} -> {here[word][place]}" if then else here[word][place] for place in PLACES]
        print(f"| `{word}` | {now} | {' | '.join(map(str, cells))} |")
    totals = [{place: sum(row[place] for row in found.values()) for place in PLACES} for found in (then or here, here)]
    cells = [f"{totals[0][place]} -> {totals[1][place]}" if then else totals[1][place] for place in PLACES]
    print(f"| total | | {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    main()
