r"""Answers that are equal, and near misses, made by hand. Golds are in the notation of MATH.

GOLDS: gold -> (true rewritings, near misses). PAIRS: (one, other, are they equal).
"""

GOLDS = {
    r"\frac{16}{27}": (
        ["16/27", r"\dfrac{16}{27}", r"\tfrac{32}{54}", r"\left(\frac{2}{3}\right)^3 \cdot 2", r"$16/27$", r"x=\frac{16}{27}"],
        ["27/16", "16/72", "0.592", "-16/27", "16", r"\frac{16}{27}\%"],
    ),
    r"\frac{20000}{\pi}": (
        [r"20000/\pi", r"\dfrac{20{,}000}{\pi}", r"20000\pi^{-1}", r"\frac{40000}{2\pi}", r"20{,}000 \cdot \frac{1}{\pi}"],
        [r"20000\pi", r"\frac{2000}{\pi}", r"\frac{\pi}{20000}", "6366.2", r"\frac{20000}{\pi^2}"],
    ),
    "200": (["200.0", r"\$200", "2e2", "+200", r"200\text{ meters}", r"10^2\cdot 2"], ["20", "2000", "-200", "200%", "2,00"]),
    "11": (["11.00", r"\boxed{11}", "22/2", r"\sqrt{121}", "x = 11"], ["1", "111", "1.1", "11/2", "1,1", "-11"]),
    "6 - 5i": (
        ["6-5i", "-5i+6", r"6 - 5 i", r"-(5i-6)", r"i(-5-6i)", r"\frac{12-10i}{2}"],
        ["6+5i", "5-6i", "-6-5i", "6-5", "-5i", "6 - 5j"],
    ),
    "-120": (["-120.0", r"$-120$", r"-5!", r"\text{-120}", "−120", r"-1.2\times 10^2"], ["120", "-12", "-210", "-120%", "5!"]),
    "x^5 - x^4 + x^3 - x^2 + x - 1": (
        [r"(x-1)(x^4+x^2+1)", "x^5-x^4+x^3-x^2+x-1", r"\frac{x^6-1}{x+1}", "-1+x-x^2+x^3-x^4+x^5", r"(x^3-1)(x^2-x+1)"],
        ["x^5 + x^4 + x^3 + x^2 + x + 1", "x^5 - x^4 + x^3 - x^2 + x", "y^5 - y^4 + y^3 - y^2 + y - 1", "x^6-1",
         "x^5 - x^4 + x^3 - x^2 - x - 1", r"\frac{x^6-1}{x-1}"],
    ),
    "p - q": (
        ["p-q", "-q + p", r"-(q-p)", r"\frac{p^2-q^2}{p+q}", "1p - 1q", r"p\;-\;q"],
        ["q - p", "p + q", "pq", "p/q", "P - Q", "|p-q|"],
    ),
    "4495": (["4,495", r"4{,}495", r"4\,495", "4495.", r"\binom{31}{3}"], ["4,49", "4945", "44.95", "449", "4,4,95"]),
    r"\$36": (["36", "$36", r"\$36.00", "36 dollars", r"36\text{ dollars}", r"\$ 36"], ["360", "3.6", r"\$63", "36%", "-36"]),
    "129": (["129.0", "0129", r"\text{129}", "258/2", r"1.29 \cdot 10^2"], ["192", "12.9", "-129", "1290", "129!"]),
    "480": (["480.", "4.8e2", r"480^\circ", r"480 \text{ square units}", r"2\cdot240"], ["48", "408", "4800", "-480", "480%"]),
    r"180^\circ": (
        ["180", r"180^{\circ}", "180°", r"180\text{ degrees}", "180 degrees", r"180\degree"],
        [r"\pi", "18", r"108^\circ", "181", r"-180^\circ"],
    ),
    "350": (["350.0", r"3.5\times10^2", "700/2", r"350\text{ cm}^2", r"350 \mathrm{~km}"], ["35", "305", "3.5", "3,50", "350i"]),
    r"\frac{35}{64}": (
        ["35/64", r"\frac{70}{128}", "0.546875", r"35 \cdot 2^{-6}", r"\dfrac{35}{64}", r"54.6875\%"],
        ["0.55", "0.547", "64/35", "35/46", "-35/64"],
    ),
    r"\text{Evelyn}": (
        ["Evelyn", "evelyn", r"\textbf{Evelyn}", r"\mathrm{Evelyn}", r"\text{ Evelyn }", "Evelyn."],
        ["Eve", "Evelyne", r"\text{Angela}", "E", "Evelyn and Angela"],
    ),
    r"\frac{1}{4}": (
        ["1/4", "0.25", ".25", r"25\%", r"\frac14", r"2^{-2}", r"25 \text{ percent}"],
        ["25", "4", "0.2", r"\frac{1}{14}", "0.25%", "1/4 i"],
    ),
    "44": (["44.0", r"4\cdot 11", r"\text{44}", "88/2", "(44)"], ["4", "4,4", "(4,4)", "4.4", "44^2"]),
    r"\frac{1997}{2}": (["1997/2", "998.5", r"998\frac{1}{2}", r"998 1/2", r"\frac{1997}{2}."], ["998", "1997", "998.2", "2/1997", "99.85"]),
    r"\frac{\sqrt{3}}{3}": (
        [r"\frac{1}{\sqrt{3}}", r"\sqrt3/3", r"\sqrt{\frac{1}{3}}", r"\frac{1}{3}\sqrt{3}", r"3^{-1/2}", r"\frac{\sqrt{12}}{6}"],
        [r"\frac{\sqrt{3}}{2}", "0.577", "1/3", r"\sqrt{3}", r"-\frac{\sqrt{3}}{3}", r"\frac{3}{\sqrt{3}}"],
    ),
    "49": (["7^2", "49.0", r"{49}", "98/2", "|-49|"], ["94", "7", "4.9", "7^3", "4,9"]),
    "-128": (["-2^7", r"(-2)^7", "-128.0", r"-\frac{256}{2}", "x=-128"], ["128", "(-2)^8", "-182", "2^{-7}", "-12.8"]),
    r"-\frac{35}{9}": (
        [r"\frac{-35}{9}", r"\frac{35}{-9}", "-35/9", r"-3\frac{8}{9}", r"-\dfrac{70}{18}"],
        ["35/9", "-9/35", "-3.89", r"-\frac{35}{99}", r"3\frac{8}{9}"],
    ),
    r"(-\sqrt{3}, \sqrt{3})": (
        [r"(-\sqrt3,\sqrt3)", r"\left(-\sqrt{3},\sqrt{3}\right)", r"(-3^{1/2}, 3^{1/2})", r"-\sqrt{3} < x < \sqrt{3}", r"x\in(-\sqrt3,\sqrt3)",
         r"\left( -\frac{3}{\sqrt{3}}, \sqrt{3} \right)"],
        [r"[-\sqrt{3}, \sqrt{3}]", r"(\sqrt{3}, -\sqrt{3})", r"(-\sqrt{3}, \sqrt{3}]", r"\pm\sqrt{3}", "(-3,3)", r"\sqrt3"],
    ),
    "7": (["7.0", r"\sqrt{49}", r"\fbox{7}", "14/2", r"7\text{ cm}"], ["-7", "0.7", "7%", "77", r"\pm 7"]),
    "0.15": (["3/20", ".15", r"15\%", "0.150", r"\frac{15}{100}"], ["15", "1.5", "0.16", "0.015", "0.15%"]),
    "81": (["3^4", "9^2", "81.0", r"\text{81}", r"\$81$"], ["18", "8.1", "3^5", "8,1", "-81"]),
    "0": (["0.0", "-0", "0/5", "5-5", r"0^\circ"], ["1", r"\emptyset", "1/0", "o", "00.1"]),
    r"\text{(B)}": (
        ["B", "(B)", r"\text{B}", r"\textbf{(B)}", r"\mathrm{(B)}", r"\boxed{\text{B}}", "$B$"],
        ["A", "b", "(A)", r"\text{(C)}", "AB", "beta"],
    ),
    r"3 \pm 2 \sqrt{2}": (
        [r"3\pm2\sqrt2", r"3 + 2\sqrt{2}, 3 - 2\sqrt{2}", r"\{3-2\sqrt2, 3+2\sqrt2\}", r"x = 3 \pm \sqrt{8}", r"3\mp 2\sqrt2",
         r"3-2\sqrt{2} \text{ and } 3+2\sqrt{2}", r"x=3+2\sqrt{2} \text{ or } x=3-2\sqrt{2}"],
        [r"3 + 2\sqrt{2}", r"2 \pm 3\sqrt{2}", r"3 \pm \sqrt{2}", r"-3 \pm 2\sqrt{2}", r"(3 - 2\sqrt2, 3 + 2\sqrt2)", r"\pm(3+2\sqrt2)"],
    ),
    "1250": (["1,250", r"1{,}250", r"\$1,250", "1250.00", r"1,\!250"], ["125", "1,25", "1520", "12.50", "1 250 000"]),
    r"\dfrac{17}{50}": (["17/50", "0.34", r"34\%", r"\frac{34}{100}", ".340"], ["34", "0.35", "50/17", "0.034", "3.4"]),
    r"\frac{7}{4}": (["1.75", r"1\frac{3}{4}", "1 3/4", "7/4", r"175\%"], ["1.7", "13/4", "4/7", r"1\frac{4}{3}", "7,4"]),
    r"\frac{4}{9}": (["4/9", r"0.\overline{4}", r"\left(\frac23\right)^2", r"\frac{8}{18}", r"\frac49"], ["0.44", "0.4", "9/4", "0.444", r"\frac{2}{3}"]),
    r"\sqrt{5}": (
        [r"\sqrt5", "5^{1/2}", "5^{0.5}", r"\frac{5}{\sqrt5}", "√5", "sqrt(5)", r"\sqrt{20}/2"],
        ["5", "2.236", r"\sqrt{15}", r"-\sqrt{5}", r"\sqrt[3]{5}", r"5\sqrt{5}"],
    ),
    r"(5,\infty)": (
        [r"(5, \infty)", r"x > 5", r"5 < x", r"\left(5,+\infty\right)", r"x \in (5,\infty)", r"2x > 10", "(5,∞)"],
        [r"[5,\infty)", r"(-\infty,5)", "x < 5", r"x \ge 5", r"(5,\infty]", "5"],
    ),
    r"x \in [-2,7]": (
        ["[-2,7]", r"-2 \le x \le 7", r"\left[-2, 7\right]", r"7\geq x\geq -2", r"[ -2 , 7.0 ]", "-2 <= x <= 7"],
        ["(-2,7)", "[-2,7)", r"-2 < x \le 7", "[7,-2]", "[2,7]", r"\{-2,7\}"],
    ),
    "2k+2": (["2(k+1)", "2 + 2k", r"2\cdot k + 2", "k+k+2", r"\frac{4k+4}{2}"], ["2k-2", "2k", "2n+2", "k+2", "2(k+2)", "2^k+2"]),
    r"\begin{pmatrix} -18 \\ -49 \\ 96 \end{pmatrix}": (
        [r"\begin{bmatrix} -18 \\ -49 \\ 96 \end{bmatrix}", r"\begin{pmatrix}-18\\-49\\96\end{pmatrix}",
         r"\left( \begin{array}{c} -18 \\ -49 \\ 96 \end{array} \right)".replace(r"\left( ", "").replace(r" \right)", ""),
         r"\begin{pmatrix} -18 \\ -49 \\ 96 \\ \end{pmatrix}", r"-\begin{pmatrix} 18 \\ 49 \\ -96 \end{pmatrix}",
         r"\mathbf{v} = \begin{pmatrix} -18 \\ -49 \\ 96.0 \end{pmatrix}"],
        [r"\begin{pmatrix} -18 & -49 & 96 \end{pmatrix}", r"\begin{pmatrix} -18 \\ -49 \\ -96 \end{pmatrix}",
         r"\begin{pmatrix} -49 \\ -18 \\ 96 \end{pmatrix}", "(-18,-49,96)", r"\begin{pmatrix} -18 \\ -49 \end{pmatrix}",
         r"\begin{vmatrix} -18 \\ -49 \\ 96 \end{vmatrix}"],
    ),
    r"15\mbox{ cm}^2": (
        ["15", r"15\text{ cm}^2", r"15 \text{ cm}^{2}", "15 cm^2", "15 square centimeters", r"15\,\mathrm{cm}^2", "15 cm²"],
        ["15^2", "225", "1.5", r"\frac{1}{15}", "51", "15x^2"],
    ),
    r"\frac43": (["4/3", r"\frac{4}{3}", r"1\frac13", r"1\frac{1}{3}", r"1.\overline{3}", r"\frac 43"], ["3/4", "1.33", "43", r"\frac{43}{1}", r"\frac{1}{3}"]),
    "204_5": (
        ["204_{5}", r"204_{\text{five}}", r"(204)_5", "0204_5", "$204_5$"],
        ["204", "54", "204_6", "402_5", "205_5"],
    ),
    "-50": (["-50.0", r"-\frac{100}{2}", "−50", r"-50^\circ", "x=-50"], ["50", "-5", "-50%", "-500", "-05.0"]),
    r"5.4 \text{ cents}": (["5.4", "5.40 cents", r"5.4\text{ cents}", "27/5", r"5\frac{2}{5}", "5.4¢"], ["54", "5", "5.5", "0.54", "5,4"]),
    "26000": (["26,000", r"26{,}000", r"26\,000", r"\$26,000", "2.6e4", r"2.6\times 10^4"], ["2600", "26", "26,00", "62000", "260,000"]),
    "6+9i": (["9i+6", "3(2+3i)", "6 + 9 i", r"6+9\cdot i", r"\frac{12+18i}{2}"], ["6-9i", "9+6i", "6+9", "15i", "-6-9i"]),
    r"30^\circ": (["30", "30°", r"30^{\circ}", "30 degrees", r"\angle".replace(r"\angle", "x = ") + r"30^\circ"], [r"\frac{\pi}{6}", "60", "3", "300", "-30"]),
    r"\frac{13}{18}": (["13/18", r"0.7\overline{2}", r"\dfrac{26}{36}", r"1-\frac{5}{18}", r"\frac{13}{18} "], ["0.72", "18/13", "13/81", "0.722", "5/18"]),
    r"\frac{11}{2}": (["5.5", "11/2", r"5\frac12", "5 1/2", r"550\%"], ["51/2", "5.2", "2/11", "112", r"5\frac{1}{3}"]),
    r"\frac{9}{256}": (["9/256", r"\left(\frac{3}{16}\right)^2", "0.03515625", r"9\cdot 2^{-8}", r"3.515625\%"], ["0.035", "256/9", "9/265", "3/16", "0.0352"]),
    "2220": (["2,220", r"2{,}220", "2220.0", r"\text{2220}", "4440/2"], ["222", "2,22", "2202", "22.20", "-2220"]),
    "1030": (["1,030", "1030.0", r"1{,}030", r"\$1030", "2060/2"], ["103", "1003", "10:30", "1,03", "10.30"]),
    r"\frac{9}{100}": (["0.09", r"9\%", "9/100", ".09", r"\left(\frac{3}{10}\right)^2"], ["9", "0.9", "0.009", "100/9", "0.09%"]),
    r"11 \sqrt{5} + 11": (
        [r"11+11\sqrt5", r"11(1+\sqrt{5})", r"11\left(\sqrt{5}+1\right)", r"\sqrt{605}+11", r"\frac{44}{\sqrt5-1}"],
        [r"11\sqrt{5}", r"11\sqrt{5}-11", r"22\sqrt{5}", r"\sqrt{5}+11", r"11\sqrt{6}", "35.6"],
    ),
    "65": (["65.0", "8^2+1", r"65^\circ", "130/2", r"65\%\cdot 100"], ["56", "6.5", "65%", "6,5", "-65"]),
    "(3,4]": ([r"\left(3,4\right]", r"3 < x \le 4", r"x\in(3,4]", "( 3 , 4 ]", "]3,4]", r"4 \geq x > 3"], ["[3,4)", "(3,4)", "[3,4]", "(4,3]", r"3 \le x \le 4"]),
    r"1\frac{4}{5}": (["9/5", "1.8", r"\frac{9}{5}", "1 4/5", r"1\frac45", r"180\%"], ["14/5", "4/5", "1.45", "5/9", r"\frac{14}{5}"]),
    "2516_8": (["2516_{8}", r"2516_{\text{eight}}", "02516_8", "(2516)_8", "$2516_{8}$."], ["2516", "1358", "2516_9", "2561_8", "2516_{10}"]),
    r"\frac{1}{2}": (["0.5", "1/2", r"50\%", r"\frac12", r"\dfrac{2}{4}", ".5", "2^{-1}", "½"], ["50", "2", "0.05", "1/2%", "-1/2", "1,2"]),
    "1.25": (["5/4", r"1\frac14", "1 1/4", r"125\%", "1.250"], ["125", "1.2", "1,25", "4/5", "11/4"]),
    "255": (["2^8-1", "255.0", "0255", "510/2", r"\text{255}"], ["2^8", "225", "25.5", "256", "FF_{16}"]),
    r"\frac{11+9a}{20}": (
        [r"\frac{9a+11}{20}", "(11+9a)/20", r"\frac{11}{20}+\frac{9}{20}a", r"0.55+0.45a", r"\frac{22+18a}{40}", r"\frac{1}{20}(11+9a)"],
        [r"\frac{11-9a}{20}", r"\frac{9+11a}{20}", r"\frac{11+9b}{20}", "11+9a", r"\frac{20}{11+9a}", "a"],
    ),
}  # fmt: skip

_EQUAL = r"""
0.5 == \frac{1}{2} == 1/2 == 2/4 == 50\% == 50 % == 50\text{ percent} == \frac{1}{1+1}
1/3 == 0.\overline{3} == \frac{2}{6} == \frac{1/2}{3/2} == 3^{-1}
1234 == 1,234 == 1{,}234 == 1\,234 == 1,\!234 == 1234.0 == \$1,234.00 == 1,234 \text{ dollars}
1234567 == 1,234,567 == 1{,}234{,}567 == 1\,234\,567
\sqrt8 == 2\sqrt2 == \sqrt{2}\cdot 2 == 8^{1/2} == \frac{4}{\sqrt2} == 2^{3/2} == 2^{1.5}
1/\sqrt2 == \frac{\sqrt2}{2} == \sqrt{\frac12} == \sqrt{0.5} == 2^{-1/2} == \frac{\sqrt{2}}{2}
\sqrt{2}+\sqrt{3} == \sqrt3+\sqrt2 == \frac{1}{\sqrt3-\sqrt2} == \sqrt{5+2\sqrt6}
\sqrt[3]{16} == 2\sqrt[3]{2} == 16^{1/3} == 2\cdot 2^{1/3}
\sqrt[3]{-8} == -2 == -\sqrt{4}
\sqrt{-9} == 3i == 3 i == i\sqrt{9}
(1+i)^2 == 2i == 2\cdot i
\frac{1}{1+i} == \frac{1-i}{2} == \frac12 - \frac12 i == 0.5-0.5i
i^3 == -i
e^{i\pi} == -1
2\pi == 2 \pi == \pi\cdot 2 == 2π == \frac{4\pi}{2} == 2pi
\frac{\pi}{6} == \pi/6 == \frac16\pi == \frac{2\pi}{12}
\pi^2 == \pi\pi == \pi\cdot\pi
e^2 == e\cdot e == \frac{1}{e^{-2}}
2^{10} == 1024 == 2**10 == 4^5 == 1,024
2^{n+1} == 2\cdot 2^n == \frac{4\cdot2^n}{2}
4^n == 2^{2n} == (2^n)^2
(1,2) == \left(1,2\right) == ( 1 , 2 ) == (1.0, 4/2) == (x,y)=(1,2)
(1,2,3) == \left( 1, 2, 3 \right) == (a,b,c) = (1,2,3)
\left(\frac12,\sqrt8\right) == (0.5, 2\sqrt2)
[1,2) == \left[1,2\right) == 1 \le x < 2 == 2 > x \geq 1 == [1,2[
\{1,2,3\} == \{3,2,1\} == \{1,1,2,3\} == \left\{1,2,3\right\} == \{ 1, 2, \frac{6}{2} \}
1, 2 == 2, 1 == 2,1 == \{1,2\} == 1 \text{ and } 2 == 1 or 2 == x=1, x=2 == x = 1 \text{ or } x = 2 == x \in \{1,2\}
\pm 5 == 5, -5 == \{-5, 5\} == x = \pm 5 == ±5
1 \pm \sqrt{2} == 1+\sqrt2, 1-\sqrt2
(\pm 1, 0) == (1,0), (-1,0) == (-1,0), (1,0)
\{\} == \emptyset == \varnothing == ∅ == \{ \}
(-\infty, 3) == x<3 == 3 > x == (-∞,3) == x - 3 < 0
(-\infty,\infty) == \mathbb{R} == x\in\mathbb{R}
(-\infty,1)\cup(3,\infty) == (3,\infty)\cup(-\infty,1) == x<1 \text{ or } x>3 == (-∞,1) ∪ (3,∞)
\begin{pmatrix}1&2\\3&4\end{pmatrix} == \begin{bmatrix}1&2\\3&4\end{bmatrix} == \begin{pmatrix} 1 & 2 \\ 3 & 8/2 \end{pmatrix} == \begin{array}{cc}1&2\\3&4\end{array}
\frac12\begin{pmatrix}2\\4\end{pmatrix} == \begin{pmatrix}1\\2\end{pmatrix}
90^\circ == 90 == 90° == 90^{\circ} == 90\text{ degrees}
5\text{ cm} == 5 == 5 cm == 5\,\mathrm{cm} == 5 \text{cm} == 5\mbox{ cm} == 5 centimeters
12\text{ m/s} == 12 == 12 \text{ miles per hour} == 12 mph
20 \text{ square inches} == 20 == 20\text{ in}^2 == 20 sq. in.
3:30 pm == 3:30 PM == 3:30 p.m. == 3\!:\!30\text{ p.m.} == 3:30\text{ pm}
9 am == 9:00 a.m.
3:2 == 6:4 == 3 : 2 == 1.5 : 1 == 9:6
1:2:3 == 2 : 4 : 6
x = 5 == 5 == 5 = x == x=5.0 == x_1 = 5
f(x) = x^2+1 == x^2+1 == y = x^2+1 == 1+x^2
\text{even} == even == Even == \text{Even} == \mathrm{even} == "even".
\text{yes} == Yes == yes == YES
\text{Monday} == monday == Monday.
B == (B) == \text{B} == \text{(B)} == \textbf{(B)} == $\mathrm{B}$
x^2+2x+1 == (x+1)^2 == (1+x)(x+1) == x^2 + x + x + 1 == x**2+2*x+1
\frac{x^2-1}{x-1} == x+1 == 1+x
\frac{1}{x}+\frac{1}{y} == \frac{x+y}{xy} == \frac{y+x}{yx}
(a+b)(a-b) == a^2-b^2 == -(b^2-a^2)
\frac{n(n+1)}{2} == \frac{n^2+n}{2} == \frac12 n^2+\frac12 n == \binom{2}{1}\cdot\frac{n(n+1)}{4}
\frac{1}{\sqrt{x}} == \frac{\sqrt{x}}{x} == x^{-1/2}
\sqrt{4x^2+4} == 2\sqrt{x^2+1} == 2\sqrt{1+x^2}
x^2+y^2=25 == 25 = x^2 + y^2 == 2x^2+2y^2=50 == x^2+y^2-25=0
y = 2x+3 == 2x - y + 3 = 0 == y - 2x = 3 == 4x+6 = 2y == 2x+3
x<y == y > x == x - y < 0 == 2x < 2y
\infty == +\infty == ∞
1101_2 == 1101_{2} == 1101_{\text{two}} == (1101)_2
AF_{16} == AF_{\text{sixteen}}
\log_2 8 == 3 == \frac{\ln 8}{\ln 2} == \ln e^3
\ln 8 == 3\ln 2 == \ln(8)
5! == 120 == 5\cdot 4!
\binom{5}{2} == 10 == \dbinom{5}{3}
|-3| == 3 == \left|-3\right| == \lvert -3\rvert
\frac12 = 0.5 == 1/2
1.5\times 10^3 == 1500 == 1.5e3 == 1.5 \cdot 10^{3}
\frac{3}{4}x == 0.75x == \frac{3x}{4} == (3/4)x
xy == yx == x \cdot y == x*y == x y
a_1+a_2 == a_2 + a_{1}
2\frac{1}{2} == 2.5 == 2 1/2 == \frac52
\sin^2 x == (\sin x)^2 == \sin(x)^2
\theta == θ
\boxed{7} == 7 == {7} == $7$ == \(7\) == **7** == 7. == \displaystyle 7 == \left(7\right)
"""

_UNEQUAL = r"""
0.333 | 1/3
0.33 | 0.333
50\% | 50
1,23 | 123
(1,234) | 1234
(1,2) | (2,1)
(1,2) | [1,2]
(1,2) | \{1,2\}
(1,2) | [1,2)
(1,2] | [1,2)
(1,2) | 12
1,2 | 1.2
\{1,2\} | \{1,2,3\}
\{\{1\},\{2\}\} | \{1,2\}
[1,2,3] | (1,2,3)
\sqrt{2} | 1.414
\sqrt{2}+\sqrt{3} | \sqrt{5}
\sqrt{x^2} | x
\sqrt{2}\sqrt{3} | \sqrt{5}
\pi | 3.14
\pi | 22/7
\pi | p
e | 2.718
i | 1
1+i | 1-i
2^{n+1} | 2^n+1
2^{3^2} | 64
-2^2 | 4
x^2+2x+1 | x^2+1
(x+1)^2 | x^2-2x+1
x^2 | 2x
x | X
x | y
x_1 | x_2
x_1 | x
xy | x+y
\frac{a}{b} | \frac{b}{a}
\frac{x}{2y} | \frac{x}{2}y
1/2x | 2x
5 | -5
5 | \pm 5
\pm 5 | (5,-5)
3\pm 1 | \{1, 3\}
x=1,y=2 | x=2,y=1
x=1,y=2 | 1,2
(-\infty,3) | (-\infty,3]
x<3 | x>3
x \le 3 | x < 3
x<1 \text{ or } x>3 | 1<x<3
(-\infty,1)\cup(3,\infty) | (1,3)
\infty | -\infty
\begin{pmatrix}1&2\\3&4\end{pmatrix} | \begin{pmatrix}1&3\\2&4\end{pmatrix}
\begin{pmatrix}1\\2\end{pmatrix} | \begin{pmatrix}1&2\end{pmatrix}
\begin{pmatrix}1\\2\end{pmatrix} | (1,2)
90^\circ | \frac{\pi}{2}
5\text{ cm} | 5^2
5 \text{ apples} | 6 \text{ apples}
\text{cm} | 5
3:30 pm | 3:30 am
3:30 pm | 3:03 pm
3:30 pm | 3.30
3:2 | 2:3
3:2 | 3/2
3:2 | 32
x=5 | x=6
x \ne 5 | 5
x^2+y^2=25 | x^2+y^2=5
x^2+y^2=25 | x^2-y^2=25
y=2x+3 | y=2x-3
y=2x+3 | x=2y+3
x = y+1 | y = x+1
x<y | x>y
\text{even} | \text{odd}
\text{yes} | \text{no}
yes | no
\text{Monday} | \text{Tuesday}
A | B
(A) | (B)
\text{A} | a
\text{(A)} | \text{(A), (B)}
1101_2 | 1101
1101_2 | 13
1101_2 | 1101_3
123_2 | 123
\log 8 | \ln 8
\log_2 3 | \log_3 2
\sin x | \cos x
\sin 2x | 2\sin x
\sin^2 x | \sin x^2
5! | 5
n! | n
\binom{5}{2} | \frac52
|x| | x
|-3| | -3
1.5e3 | 15
10^{-3} | -1000
2\frac{1}{2} | 1
2\frac{3}{2} | 3
12/5 | 1 2/5
1 2 | 12
0.1 | 0.10000000000000000001
123456789012345678901 | 123456789012345678902
\emptyset | 0
\emptyset | \{0\}
\text{none} | 0
\text{undefined} | \infty
1/0 | \infty
0.999 | 1
\frac{0}{0} | 1
9**9**9 | 9**9**8
\angle ABC | \angle ACB
\overline{AB} | AB
3.0.1 | 3.01
\text{Sam} | \text{Sue}
\mathbb{R} | R
5x | 5
2\sqrt{2} | 2\sqrt{3}
2\sqrt[3]{2} | 2\sqrt{2}
(2,3)\cup(4,5) | (2,5)
(1,2),(3,4) | (1,2,3,4)
(1,2),(3,4) | (1,4),(3,2)
\frac{\sqrt{3}x}{x+1} | \frac{3x}{x+1}
\frac{1}{x+1} | \frac{1}{x}+1
e^{2x} | e^{x^2}
e^x | x^e
"""


def _table():
    out = []
    for line in _EQUAL.strip().splitlines():
        one, *others = line.split(" == ")
        out += [(one, other, True) for other in others]
    for line in _UNEQUAL.strip().splitlines():
        one, other = line.split(" | ")
        out.append((one, other, False))
    return out


PAIRS = _table()
