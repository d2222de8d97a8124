"""What arguments each function takes, in Go's types: text/template checks them before it calls.

A signature is a text: one letter an argument, `*` after the last one when it may come any number of times.
`s` string, `i` int, `b` bool, `f` float64, `a` any value, `m` a mapping, `t` a time, `u` an unsigned number.
"""

from collections.abc import Iterable

GO_TYPES = {
    "s": "string",
    "i": "int",
    "b": "bool",
    "f": "float64",
    "a": "interface {}",
    "m": "map[string]interface {}",
    "t": "time.Time",
    "u": "uint32",
}
# nil is a value of these.
NILABLE = frozenset("am")


def _table(rows: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name: signature for signature, names in rows for name in names.split()}


SIGNATURES: dict[str, str] = _table(
    (
        ("", "now uuidv4 hello"),
        ("s", "trim upper lower title untitle initials swapcase snakecase kebabcase camelcase nospace shuffle"),
        ("s", "atoi fromJson mustFromJson b64enc b64dec b32enc b32dec sha1sum sha256sum sha512sum adler32sum"),
        ("s", "regexQuoteMeta base dir ext clean isAbs osBase osDir osExt osClean osIsAbs env expandenv fail"),
        ("s", "semver urlParse getHostByName bcrypt ReadFile"),
        ("ss", "trimAll trimall trimPrefix trimSuffix contains hasPrefix hasSuffix split splitList semverCompare"),
        ("ss", "regexMatch mustRegexMatch regexFind mustRegexFind toDate mustToDate decryptAES encryptAES htpasswd"),
        ("sss", "replace regexReplaceAll mustRegexReplaceAll regexReplaceAllLiteral mustRegexReplaceAllLiteral"),
        ("ssi", "plural regexFindAll mustRegexFindAll regexSplit mustRegexSplit"),
        ("is", "repeat trunc abbrev indent nindent wrap"),
        ("iis", "substr abbrevboth"),
        ("iss", "wrapWith"),
        ("sis", "splitn"),
        ("i", "until randBytes randAlphaNum randAlpha randNumeric randAscii GetSubnet24"),
        ("ii", "randInt Binomial"),
        ("iii", "untilStep IndexToCombination"),
        ("sii", "GetIPAddress"),
        ("i*", "seq"),
        ("a", "toString toStrings sortAlpha add1 add1f int int64 float64 toDecimal ceil floor empty kindOf typeOf"),
        ("a", "first last rest initial reverse uniq compact mustFirst mustLast mustRest mustInitial mustReverse"),
        ("a", "mustUniq mustCompact deepCopy mustDeepCopy toJson mustToJson toPrettyJson mustToPrettyJson toRawJson"),
        ("a", "mustToRawJson htmlDate duration durationRound ago not len"),
        ("aa", "sub div mod append push prepend has mustAppend mustPush mustPrepend mustHas deepEqual ne lt le gt ge"),
        ("sa", "join date kindIs typeIs typeIsLike"),
        ("as", "htmlDateInZone"),
        ("sas", "dateInZone date_in_zone"),
        ("st", "dateModify date_modify mustDateModify must_date_modify"),
        ("t", "unixEpoch"),
        ("aab", "ternary"),
        ("aif*", "round"),
        ("ia", "chunk mustChunk"),
        ("aa*", "default mul max biggest min maxf minf subf mulf divf without mustWithout slice mustSlice"),
        ("aa*", "index eq call"),
        ("a*", "quote squote cat add addf list tuple dict coalesce all any concat dig print println html js urlquery"),
        ("sa*", "printf"),
        ("m", "values urlJoin"),
        ("ms", "get unset hasKey"),
        ("msa", "set"),
        ("ms*", "pick omit"),
        ("m*", "keys"),
        ("sm*", "pluck"),
        ("mm*", "merge mergeOverwrite mustMerge mustMergeOverwrite"),
        ("ussss", "derivePassword"),
    )
)
