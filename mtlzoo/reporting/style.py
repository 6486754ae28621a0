"""How a report looks: on wide and narrow screens, light and dark, on paper."""

# The lines of runs are Okabe and Ito's colours, darkened until each has a contrast of 3 to 1 with
# white, and lightened on dark; markers and dashes tell them apart, too.
STYLE = (
    """
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;
--panel:#f6f8fa;--accent:#0969da;--cell:0,92,148;
--c0:#0072b2;--c1:#c75000;--c2:#00855f;--c3:#b0518a;--c4:#946500;--c5:#2f7fa8}
@media(prefers-color-scheme:dark){:root{--paper:#11151a;--ink:#e6edf3;--soft:#a3adb8;--line:#3d444d;
--panel:#1a2027;--accent:#6cb0ff;--cell:60,150,215;
--c0:#4aa8e0;--c1:#f08a45;--c2:#2fc39a;--c3:#e29ac4;--c4:#f0b840;--c5:#8fd0f2}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,sans-serif;
overflow-wrap:anywhere}
main,header,nav,footer{max-width:70rem;margin:0 auto;padding:0 1rem}
header{padding-top:1.5rem}footer{padding-bottom:2rem;color:var(--soft)}
h1{font-size:1.75rem;line-height:1.2;margin:.2rem 0}
h2{font-size:1.35rem;margin:2.2rem 0 .6rem;padding-top:.6rem;border-top:1px solid var(--line)}
h3{font-size:1.08rem;margin:1.4rem 0 .4rem}
p{margin:.5rem 0;max-width:46rem}
nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;padding:0;list-style:none;margin:.8rem 0}
nav li{padding:.25rem 0}
a{color:var(--accent)}
ul.plain{padding-left:1.2rem;max-width:46rem}
.note,caption,figcaption,dt{color:var(--soft);font-size:.9rem}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,21rem),1fr));gap:1rem}
.grid>*{min-width:0}
figure{margin:.6rem 0}figure svg{width:100%;height:auto;max-width:34rem;display:block}
figure img{max-width:100%;height:auto;background:#fff;border-radius:4px;display:block}
.scroll{overflow-x:auto;margin:.6rem 0;overflow-wrap:normal}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.92rem}
caption{text-align:left;padding:.2rem 0}
th,td{padding:.3rem .6rem;border-bottom:1px solid var(--line);text-align:right;vertical-align:top;
white-space:nowrap}
thead th{white-space:normal;min-width:5.5rem;overflow-wrap:anywhere;vertical-align:bottom}
tbody th,thead th:first-child{text-align:left;font-weight:600}
tbody th{min-width:8.5rem;max-width:16rem;white-space:normal;overflow-wrap:anywhere}
td small,th small{color:var(--soft);display:block;font-weight:400}
td.shade{background:rgba(var(--cell),var(--part));text-align:center}
td.shade small{color:inherit}
details{margin:.5rem 0}summary{cursor:pointer;padding:.3rem 0;color:var(--accent)}
pre{background:var(--panel);border:1px solid var(--line);border-radius:4px;padding:.6rem;
white-space:pre-wrap;font-size:.85rem}
dl.facts{display:grid;grid-template-columns:minmax(6rem,auto) 1fr;gap:.15rem .9rem;margin:.5rem 0}
dl.facts dd{margin:0}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;padding:0;list-style:none;margin:.4rem 0;
font-size:.92rem}
.legend svg{width:2.4rem;height:.9rem;vertical-align:middle}
svg text{fill:var(--ink);font:13px system-ui,sans-serif}
svg .axis{stroke:var(--soft);fill:none}svg .rule{stroke:var(--line);fill:none}
svg .curve{fill:none;stroke-width:2}svg .train{stroke-dasharray:5 4;stroke-width:1.5}
svg .band{stroke:none;opacity:.18}svg .ideal{stroke:var(--soft);stroke-dasharray:3 4;fill:none}
"""
    + "".join(f".s{i}{{stroke:var(--c{i})}}.f{i}{{fill:var(--c{i})}}\n" for i in range(6))
    + """
@media print{:root{color-scheme:light;--paper:#fff;--ink:#000;--soft:#444;--line:#bbb;--panel:#fff;
--accent:#000;--cell:0,92,148;--c0:#0072b2;--c1:#c75000;--c2:#00855f;--c3:#b0518a;--c4:#946500;
--c5:#2f7fa8}
body{font-size:10.5pt}nav{display:none}figure,tr,pre{break-inside:avoid}h2,h3{break-after:avoid}
.scroll{overflow:visible}th,td{white-space:normal}
details::details-content{content-visibility:visible;block-size:auto}summary{color:#000}
td.shade{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
)
