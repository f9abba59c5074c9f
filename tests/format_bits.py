"""What all parts of the reader of docs/format.md use: its errors, and bits."""


class BadFile(ValueError):
    """The file is not what docs/format.md describes."""


class OtherVersion(BadFile):
    """The file is of another version."""


def must(condition, what):
    if not condition:
        raise BadFile(what)


class Bits:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        value = 0
        for _ in range(count):
            must(self.at < 8 * len(self.data), "a section of bits is too short")
            value = value << 1 | self.data[self.at // 8] >> 7 - self.at % 8 & 1
            self.at += 1
        return value
