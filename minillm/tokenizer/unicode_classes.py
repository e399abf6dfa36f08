"""Which code points are letters, numbers and spaces to GPT-2's split pattern: as of Unicode 16, and frozen.

tiktoken and Hugging Face agree on these 141,028 letters, 1,911 numbers and 25 spaces. The modules that would know,
`re`, `regex` and `unicodedata`, each follow a version of Unicode of their own (17,480 code points of `regex` 2026.11
are letters to it and not to GPT-2's other encoders), so that ids would change with an update.

`tests/minillm/tokenizer/test_unicode_classes.py` compares the table with tiktoken, code point by code point.
"""

from __future__ import annotations

import base64
import functools
import zlib

import numpy as np
from numpy.typing import NDArray

OTHER, LETTER, NUMBER, SPACE = range(4)
N_CODE_POINTS = 0x110000


@functools.cache
def unicode_classes() -> NDArray[np.uint8]:
    """OTHER, LETTER, NUMBER or SPACE of each code point, (0x110000,)."""
    classes = np.zeros(N_CODE_POINTS, np.uint8)
    start, value, shift = 0, 0, 0
    for byte in zlib.decompress(base64.b85decode(_RUNS)):
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:  # the last byte of a number
            length = value >> 2
            classes[start : start + length] = value & 3
            start, value, shift = start + length, 0, 0
    assert start == N_CODE_POINTS
    return classes


# runs of code points of one class, in order: numbers of 4 * length + class, seven bits a byte with the low ones first
_RUNS = (
    b"c-mD}Z)jWB73bV{j&z^$p7);fp8KA8GEyc7=_0psk%J0Kkc$E`#3eQER*z^T5SJL5VMAP^Vi#$P!GQ!KaHu?NSRsZ5DzG8$nlW$ohrl|Pl6)}O(0"
    b"s_KM+0j=jD0ce!_Je_LAcU=dPnD;zrXXlsn;seq6((GsdV&8G(|xS$%qhkVHM}`ewQ^^a05cRfiCLOM)C+vBzzYi3v6RznQ$2-d26sDu3Gj3Xv4U"
    b"&biA!074<+@rlb;K?b?CJQb8?1O1H?FuqZ_aU6>38oJ;7J@56Vn4+d2z$XE)8t)$fD1jacQ+u-wg9ZgH=vR6{Vw~qeO!!^ed1xlKwevax$>V{^Dx"
    b"}{Q-{n1QEdc9)=sW(gL8z$O@&WY%TZkWd4`!s&4l4K)Q95(0*M=jYzq7TVBl4e2^bL^5$=;hGe8ic7iCia=uJLo$j#wF}WlJPlJ-T~Be@swJD(1("
    b"kcc+a4oBIzQfl(g$Wb7Q$AHsM3}?^+wqlk$9vlQs0fw1#qo%3B5`hh!UYGlsV0YVf`Wye+{0-%sN~_;Onm#*E?8zL37Laa^8_PC0F1bR~n4{AgjM"
    b"Fob6DDcl0G$WWeoUwH>2aOKU=!?H-vuYjsaH@gAWl=u1)R8za~Ij~}${v)=aoHW!usO5FF0auzZtqfB&K@K==kmfzG(dROf(}>i?zLdUXMEEkv;e"
    b"~5n?n0-NCdLh0`qq#W{(9ruF(>*bh?XKGdmYYxXi4MfWQH|e@93zF1JZU}i|}jEd-i(%4PT01>>dAj{ik=M9=9(QkuPiX90Dp;Q*nG{Z427&iduT"
    b")@<~p%OSkrgXW|QiHb;(!!st#nU>k<(pst_5GyGVAGxb>GYp9FO2Xsq31i2}VVWpqng3`QP7Oc=OS2ZrT3>%vqA7&ufSk3pQpF-g)F3m;XU{Il&N"
    b"mnn=23s)AskxX@F5~5biAhU&Rqpav9JirMS8|>gO*s&lIiHK>cT(Ws-tr!6dF3^qiCoos1a}t2!(;Nk)`ED>bwVr+F{-FD1RL57XdkOIgxrVU!Qd"
    b"0k#Z^4lnd$6-Fgj+Xc?$+{3P)N0w0vt3zSnYJK<=MVjy;La8jqm#E2{zBsdppEh_ejonrs3CzvuUGh?2tqi$9-1;wj_?@N{RQUOo*LJ=0SY>EuNp"
    b"?*sNP37?bNfDjV0Do<2p-+bcaHn3}_XQJ1dYKiAy#q_u3AAyQC*Kam`^1^HkXS?c<#2K%rv=8YCd1BN#F>;}ATdaw1;4$PML(toV9D{NuRsAmV2|"
    b"M%jlKC%~Rg{>>c7HhXCA`;nzM9*GD<3mgQGOHZFd3*+6N-wFMTy%?F}WQm*jdG8x5ly~IC)P0FLWk})5&nZ%Ia0ts8G(m&Y+Yb(IH*tgX^#h728p"
    b"cd3^`YGY%4}MO(mwa0ggGS=C}1%rh~0W7Aj1-?ZZ2(gr-y8seQ?l8GhBmM<0AP(igsQmz6MBu!KLGY0WEWgo&hs;r5X$O6ah_2XSAQ}H9GwylLBE"
    b"yFkyh{qF$4JfdWJ$;mI4dG1&-=3i2&pwA2K}-9yR&GYt#}>5WPO|J@{(jC`?f!NbY8BNwbzlec%r9Glw_0TfN_I|RAHL^|ZkwB6s8*yQetA!83x^"
    b"iPP+f3})6f3`iT#uJAhYtRusg-MtrzJU6J^0pY#4VcZOs`n`h(2guR*n5AIpucYaguOuE13hc0-1@#~>Fvjte}1T!c8zaMc;bMjW5U<Rnh=jq~a^"
    b"DgOrb!o24%$wT-nZbCXPxs^9!wF*;}+UuI(EmD)DmVOdvV+?M*8<C8*rU=MV-*`U&UuE6v;tRktixC^IvQF5`3~N((n^{LxW4@ICxWczEO}nF)!L"
    b"v+SE}p&9ed^ZFRV&f>L#z%j8sHs9<jn_Ac=Q5_505X79$JfUw0{du<2SJVk7w{dnCD<!"
)
