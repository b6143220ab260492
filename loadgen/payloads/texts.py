"""Generate seeded texts with given lengths in tokens, and count tokens with the user's
tokenizer."""

from __future__ import annotations

import functools
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from loadgen.regular_files import read_regular
from loadgen.sanitizing import sanitize_line

if TYPE_CHECKING:
    import tokenizers


_WORD_LIST = """
able about above act add after again age ago air all also always among and animal answer any appear area arm army art
ask back bad ball bank base bear beat beauty bed been before began begin behind believe best better between big bird
black blood blow blue board boat body bone book born both bottom box boy break bring brother brought brown build burn
business busy but buy call came can capital car card care carry case cat catch cause cell center central chance change
charge check chief child choice church circle city claim class clean clear clock close cloud coast cold color come
common company complete consider contain control cook cool copy corn corner correct cost cotton could count country
course cover create cross cry current cut dance dark data date daughter day dead deal dear death decide deep degree
design develop did die direct distant divide do doctor does dog done door double down draw dream dress drink drive
drop dry during each early earth ease east eat edge effect egg eight either electric else end enemy energy engine
enough enter equal even evening ever every exact example except expect experience eye face fact fair fall family
famous far farm fast father fear feed feel feet felt few field fight figure fill final find fine finger finish fire
first fish fit five flat floor flow flower fly follow food foot for force foreign forest form forward found four free
fresh friend from front fruit full fun game garden gas gave general get girl give glad glass go gold gone good got
govern grand grass gray great green ground group grow guess guide had hair half hand happen happy hard has hat have he
head hear heart heat heavy held help her here high hill him his history hit hold hole home hope horse hot hotel hour
house how huge human hundred hunt ice idea if in inch include indicate industry instant interest into iron is island
it job join jump just keep key kill kind king knew know lady lake land language large last late laugh law lay lead
learn least leave led left leg length less let letter level lie life lift light like line list listen little live
local long look lost lot loud love low machine made main major make man many map mark market mass master match
material matter may me mean measure meat meet member men metal method middle might mile milk million mind mine minute
miss modern moment money month moon more morning most mother motion mountain mouth move much music must my name nation
nature near necessary neck need never new next night nine no noise none nor north nose note nothing notice now number
object ocean of off offer office often oil old on once one only open operate opposite or order original other our out
over own page paint pair paper parent part party pass past path pattern pay people perhaps period person phrase pick
picture piece place plain plan plane plant play please point poor popular port pose position possible post pound power
present press pretty print problem process produce product proper property protect prove provide public pull push put
question quick quiet quite race radio rain raise range rate reach read ready real reason receive record red region
remember repeat reply report rest result rich ride right ring rise river road rock roll room root rope rose round row
rule run safe said sail salt same sand save saw say scale school science score sea search season seat second section
see seed seem sell send sense sent separate serve set settle seven several shape share sharp she sheet ship shoe shop
short should shoulder shout show side sight sign silent silver similar simple since sing single sister sit six size
skill skin sky sleep slip slow small smell smile snow so soft soil soldier solution solve some son song soon sound
south space speak special speech speed spell spend spoke spot spread spring square stand star start state station stay
steel step stick still stone stood stop store story straight strange stream street string strong student study subject
success such sudden sugar suit summer sun supply support sure surface surprise system table tail take talk tall teach
team tell ten term test than that the their them then there these they thick thin thing think third this those though
thought thousand three through time tiny to together told tone too took tool top total touch toward town track trade
train travel tree triangle trip trouble truck true try tube turn twenty two type under unit until up upon use usual
valley value various very view visit voice vowel wait walk wall want war warm was wash watch water wave way we wear
weather week weight well went were west what wheel when where whether which while white who whole whose why wide wife
wild will win wind window winter wire wish with woman women wonder wood word work world would write wrong yard year
yellow yes yet you young your
"""

WORDS = tuple(_WORD_LIST.split())
"""Common English words. Tokenizers of large language models encode each word, with a leading space,
as one token."""


CountTokens = Callable[[str], int]
_DrawWords = Callable[[int], list[str]]

_MAX_FILE_BYTES = 256 * 2**20
_MAX_REASON_CHARS = 200
_PANIC_MODULE = "pyo3_runtime"
_REJECTED_HINT = "Use the tokenizer.json that the publisher of the model provides."
_TRIAL_CHARACTERS = "a 1.\n☃"
_TRIAL_REPEATS = 4096


class TokenizerError(Exception):
    """Error that is raised when a tokenizer cannot be loaded; `hint` suggests what to change."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def load_token_counter(path: str) -> CountTokens:
    """Load a `tokenizer.json`, and return a function that counts the tokens of a text. The special
    tokens that a server adds are not counted.

    Raises TokenizerError if the tokenizer cannot be loaded. The function raises TokenizerError if the
    tokenizer fails, for example because a regular expression needs too many steps.
    """
    tokenizer = _load_tokenizer(path)

    def count_tokens(text: str) -> int:
        # Encode as a batch, because the package releases the GIL only for batches.
        try:
            return len(tokenizer.encode_batch_fast([text], add_special_tokens=False)[0])
        except BaseException as error:
            _raise_again_unless_failed(error)
            raise TokenizerError(
                f"{path} cannot count the tokens of a text: {_describe_error(error)}", hint=_REJECTED_HINT
            ) from error

    return count_tokens


def try_token_counter(path: str) -> None:
    """Count the tokens of texts as in a run. A tokenizer may use unlimited time and memory, or end the
    process, because its regular expressions come from its file; so call this function in a process
    with limits first.

    Raises TokenizerError if the tokenizer cannot be loaded or fails.
    """
    count_tokens = load_token_counter(path)
    _select_single_token_words(count_tokens)
    for text in (" ".join(WORDS), *(character * _TRIAL_REPEATS for character in _TRIAL_CHARACTERS)):
        count_tokens(text)


def _load_tokenizer(path: str) -> tokenizers.Tokenizer:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # a batch of one needs no threads
    # The package is optional and slow to import, so it is imported only when a tokenizer is used.
    try:
        import tokenizers
    except ImportError as error:
        raise TokenizerError(
            "counting tokens requires the tokenizers package",
            hint='Install it with `pip install "sizewise[tokenizer]"`.',
        ) from error
    try:
        tokenizer = tokenizers.Tokenizer.from_str(read_regular(path, _MAX_FILE_BYTES).decode())
    except OSError as error:
        raise TokenizerError(
            f"{path} cannot be read: {error.strerror}", hint="Use the model's tokenizer.json."
        ) from error
    except BaseException as error:  # the package raises plain Exception for any error
        _raise_again_unless_failed(error)
        raise TokenizerError(
            f"{path} cannot be read as a tokenizer: {_describe_error(error)}", hint="Use the model's tokenizer.json."
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _raise_again_unless_failed(error: BaseException) -> None:
    """Raise `error` again if it is neither an Exception nor a panic of the package's Rust code, which
    is not an Exception. The type of a panic cannot be imported."""
    if not isinstance(error, Exception) and type(error).__module__ != _PANIC_MODULE:
        raise error


def _describe_error(error: BaseException) -> str:
    return sanitize_line(str(error), _MAX_REASON_CHARS) or type(error).__name__


_MIN_SINGLE_TOKEN_WORDS = 16
_MAX_ADJUSTMENTS = 8
_MAX_REMOVED_CHARS = _MAX_FILLERS = 64
_FILLERS = (" a", "a", " 1", "1", ".", ",", "!", "\n")
_BLOCK_STREAM = 3
"""Identifier of the random stream for blocks. The stream differs from those of lengths and think
times."""
_CONTEXT_WORDS = 2
_MAX_CACHED_CHARS = 32 * 2**20
"""Maximum total length of the block texts that are kept for reuse. Other blocks are generated
again."""


class TextGenerator:
    """Generator of texts with a given number of tokens.

    Without a tokenizer, each word counts as one token, which is approximately correct for English
    and current models. With a tokenizer, texts have exactly the given number of tokens if the
    vocabulary allows this. `inexact_count` is the number of texts with a different number of
    tokens.
    """

    def __init__(self, rng: np.random.Generator, count_tokens: CountTokens | None) -> None:
        self._rng, self._count_tokens = rng, count_tokens
        self._words: Sequence[str] = WORDS if count_tokens is None else _select_single_token_words(count_tokens)
        self._block_texts: OrderedDict[tuple[int, int, int], str] = OrderedDict()
        self._cached_chars = 0
        self.inexact_count = 0

    def count(self, text: str) -> int:
        """Return the number of tokens of a text; without a tokenizer, the number of words."""
        return len(text.split()) if self._count_tokens is None else self._count_tokens(text)

    def generate(self, target_count: int) -> str:
        draw_words = functools.partial(_draw_words, self._rng, self._words)
        text, token_count = self._fit(draw_words(target_count), target_count, draw_words)
        self.inexact_count += token_count != target_count
        return text

    def generate_from_blocks(self, blocks: Iterable[tuple[int, int]], block_tokens: int, seed: int) -> str:
        """Generate a text from blocks, which are pairs of an ID and a number of tokens.

        The text of a block depends only on `seed`, its ID and `block_tokens`. A block with fewer
        than `block_tokens` tokens is the beginning of the complete block with that ID. The tokens
        of the whole text are counted, because a tokenizer may merge the end of a block with the
        beginning of the next one.
        """
        texts: list[str] = []
        target_count = 0
        for block_id, tokens in blocks:
            texts.append(self._generate_block(block_id, tokens, block_tokens, seed))
            target_count += tokens
        text = self._block_style.lead + " ".join(texts)
        self.inexact_count += self._count_tokens is not None and self._count_tokens(text) != target_count
        return text

    def _generate_block(self, block_id: int, tokens: int, block_tokens: int, seed: int) -> str:
        key = (block_id, block_tokens, seed)
        if tokens == block_tokens and (text := self._block_texts.get(key)) is not None:
            return text
        draw_words = functools.partial(
            _draw_words, np.random.default_rng([seed, _BLOCK_STREAM, block_id]), self._block_style.words
        )
        text, _ = self._fit(draw_words(block_tokens)[:tokens], tokens, draw_words, is_continuation=True)
        if tokens == block_tokens:
            self._block_texts[key] = text
            self._cached_chars += len(text)
            while self._cached_chars > _MAX_CACHED_CHARS:
                self._cached_chars -= len(self._block_texts.popitem(last=False)[1])
        return text

    @functools.cached_property
    def _block_style(self) -> _BlockStyle:
        """Style of blocks that can be joined: of words that are one token at the beginning of a text
        too or, if there are too few, of all words after a space."""
        if (count_tokens := self._count_tokens) is None:
            return _BlockStyle(self._words)
        words = [word for word in self._words if count_tokens(f"{word} go") == count_tokens("go go")]
        if len(words) >= _MIN_SINGLE_TOKEN_WORDS and count_tokens("go go") == _CONTEXT_WORDS:
            return _BlockStyle(words)
        return _BlockStyle(self._words, " ")

    def _fit(
        self, words: list[str], target_count: int, draw_words: _DrawWords, *, is_continuation: bool = False
    ) -> tuple[str, int]:
        """Join words to a text with `target_count` tokens, if the vocabulary allows this. Return
        the text and its actual number of tokens. If `is_continuation` is True, the tokens are those
        of the text after other words."""
        if self._count_tokens is None:
            return " ".join(words), target_count
        count_tokens = _count_after_words(self._count_tokens) if is_continuation else self._count_tokens
        text, token_count = _adjust_word_count(words, target_count, count_tokens, draw_words)
        for _ in range(_MAX_REMOVED_CHARS):
            if token_count <= target_count or len(text) == 1:
                break
            text = text[:-1]
            token_count = count_tokens(text)
        if token_count < target_count:
            text, token_count = _append_fillers(text, token_count, target_count, count_tokens)
        return text, token_count


class _BlockStyle(NamedTuple):
    """Words of blocks, and the text before the first block."""

    words: Sequence[str]
    lead: str = ""


def _count_after_words(count_tokens: CountTokens) -> CountTokens:
    """Return a function that counts the tokens that a text adds to the text before it."""
    context_count = count_tokens("go go")
    return lambda text: count_tokens(f"go go {text}") - context_count


def _draw_words(rng: np.random.Generator, words: Sequence[str], count: int) -> list[str]:
    return [words[index] for index in rng.integers(0, len(words), count).tolist()]


def _adjust_word_count(
    words: list[str], target_count: int, count_tokens: CountTokens, draw_words: _DrawWords
) -> tuple[str, int]:
    """Adjust the number of words until a text has about `target_count` tokens. Return the text and
    its actual number of tokens."""
    text = " ".join(words)
    token_count = count_tokens(text)
    for _ in range(_MAX_ADJUSTMENTS):
        tokens_per_word = max(token_count / len(words), 1.0)
        missing_word_count = int((target_count - token_count) / tokens_per_word)
        if token_count > target_count and len(words) > 1:
            del words[max(len(words) + min(missing_word_count, -1), 1) :]
        elif missing_word_count > 0:
            words += draw_words(missing_word_count)
        else:
            break
        text = " ".join(words)
        token_count = count_tokens(text)
    return text, token_count


def _select_single_token_words(count_tokens: CountTokens) -> Sequence[str]:
    """Return the words of WORDS that the tokenizer encodes as one token, or all of WORDS if there
    are fewer than 16 such words."""
    base_count = count_tokens("go go")
    single_token_words = [word for word in WORDS if count_tokens(f"go {word} go") == base_count + 1]
    return single_token_words if len(single_token_words) >= _MIN_SINGLE_TOKEN_WORDS else WORDS


def _append_fillers(text: str, token_count: int, target_count: int, count_tokens: CountTokens) -> tuple[str, int]:
    """Append fillers of one token each to a text, until it has `target_count` tokens or no further
    filler adds exactly one token. Return the text and its number of tokens."""
    for _ in range(min(target_count - token_count, _MAX_FILLERS)):
        for filler in _FILLERS:
            if count_tokens(text + filler) == token_count + 1:
                text, token_count = text + filler, token_count + 1
                break
        else:
            break
    return text, token_count
