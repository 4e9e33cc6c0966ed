"""How a page looks, and what its switches do: one style and one script, inside every page, so that it needs nothing else."""

STYLE = """
:root{color-scheme:light dark;--ink:#1c2127;--quiet:#5b6570;--paper:#fff;--soft:#f4f6f8;--line:#dfe4e9;
  --accent:#2b5f94;--tint:#e8f0f8;--warn:#8a5a00;--warnsoft:#fdf5e3;--s0:#1f6fb4;--s1:#c75a00;--s2:#00805f;
  --s3:#a8418a;--s4:#6b5b00;--s5:#5b5bd6;--s6:#7a7f87;--s7:#b3261e;--low:#8c510a;--mid:#f3f1ec;--high:#01665e}
@media(prefers-color-scheme:dark){
  :root:not([data-theme=light]){--ink:#e7eaee;--quiet:#a0aab4;--paper:#14171b;--soft:#1d2127;--line:#323942;
    --accent:#7fb2e5;--tint:#1d2b3a;--warn:#f0c36b;--warnsoft:#2b2415;--s0:#63aef0;--s1:#f39a4a;--s2:#3ecba0;
    --s3:#e48fce;--s4:#d8c54a;--s5:#a6a6ff;--s6:#a3a9b1;--s7:#ff8a80;--low:#e0a050;--mid:#262b31;--high:#4fc9bb}
}
:root[data-theme=dark]{color-scheme:dark;--ink:#e7eaee;--quiet:#a0aab4;--paper:#14171b;--soft:#1d2127;--line:#323942;
  --accent:#7fb2e5;--tint:#1d2b3a;--warn:#f0c36b;--warnsoft:#2b2415;--s0:#63aef0;--s1:#f39a4a;--s2:#3ecba0;
  --s3:#e48fce;--s4:#d8c54a;--s5:#a6a6ff;--s6:#a3a9b1;--s7:#ff8a80;--low:#e0a050;--mid:#262b31;--high:#4fc9bb}
:root[data-theme=light]{color-scheme:light}
*{box-sizing:border-box}
html{scroll-padding-top:3.2rem;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
  font:16px/1.65 system-ui,-apple-system,"Hiragino Sans","Yu Gothic UI","Noto Sans JP","Noto Sans CJK JP",sans-serif;
  overflow-wrap:break-word}
main,.head,footer{max-width:72rem;margin:0 auto;padding:0 1.5rem}
.head{padding-top:2rem}
h1{font-size:1.75rem;line-height:1.3;margin:.1rem 0 .3rem;font-weight:650;letter-spacing:-.01em}
h2{font-size:1.25rem;margin:0 0 .35rem;font-weight:650}
h3{font-size:1rem;margin:1.6rem 0 .3rem;font-weight:650}
section{padding:2.1rem 0 .4rem;border-top:1px solid var(--line);margin-top:1.8rem}
section>p,.lead{color:var(--quiet);max-width:50rem;margin:.2rem 0 .9rem}
a{color:var(--accent)}
.eyebrow{color:var(--quiet);font-size:.85rem;letter-spacing:.02em;margin:0}
.notice{background:var(--warnsoft);color:var(--warn);border-radius:.5rem;padding:.55rem .9rem;margin:1rem 0;
  font-size:.92rem}
nav{position:sticky;top:0;z-index:3;background:var(--paper);border-bottom:1px solid var(--line);margin-top:1rem}
nav>div{max-width:72rem;margin:0 auto;padding:.35rem 1.5rem;display:flex;gap:1.1rem;overflow-x:auto;
  scrollbar-width:none;white-space:nowrap}
nav a{color:var(--quiet);text-decoration:none;font-size:.88rem;padding:.2rem 0}
nav a:hover,nav a:focus{color:var(--accent)}
.switches{float:right;display:flex;gap:.4rem;margin:0 0 .5rem 1rem}
.switches[hidden]{display:none}
button{font:inherit;color:inherit;background:none;border:1px solid var(--line);border-radius:.4rem;
  padding:.2rem .65rem;cursor:pointer}
.switches button{font-size:.85rem;color:var(--quiet)}
button:hover{border-color:var(--accent)}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.tiles{display:grid;grid-template-columns:repeat(4,minmax(0,1fr));gap:.9rem;margin:1.4rem 0}
.tile.main{grid-column:span 2}
.tile .span{display:block;width:100%;height:auto;margin:.5rem 0 .1rem}
.tile .key{vertical-align:-2px}
@media(max-width:62rem){
  .tiles{grid-template-columns:repeat(3,minmax(0,1fr))}
}
.tile{background:var(--soft);border-radius:.7rem;padding:.9rem 1.1rem 1rem}
.tile.main{background:var(--tint)}
.tile .what{font-size:.88rem;color:var(--quiet);display:block}
.tile b{font-size:2.1rem;line-height:1.25;font-weight:650;font-variant-numeric:tabular-nums;letter-spacing:-.02em}
.tile .range{display:block;color:var(--quiet);font-size:.88rem;font-variant-numeric:tabular-nums;white-space:nowrap}
.tile dl{margin:.45rem 0 0;display:grid;grid-template-columns:1fr auto;gap:0 .6rem;font-size:.84rem;
  color:var(--quiet);line-height:1.5}
.tile dd{margin:0;text-align:right;font-variant-numeric:tabular-nums}
.tile dt{min-width:0}
.wide{overflow-x:auto;margin:.6rem 0 1rem;position:relative}
table{border-collapse:collapse;font-size:.9rem;line-height:1.4}
th,td{padding:.38rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap;
  font-variant-numeric:tabular-nums}
th{color:var(--quiet);font-weight:600;font-size:.82rem;vertical-align:bottom}
.text{text-align:left}
td.text{white-space:normal;max-width:17rem}
td.text.extra{white-space:nowrap}
tbody tr:hover td{background:var(--soft)}
th:first-child,td:first-child{position:sticky;left:0;background:var(--paper);text-align:left;white-space:normal;
  min-width:12.5rem;max-width:19rem;z-index:1}
tr.own td{background:var(--tint)}
tr.own td:first-child{font-weight:600}
td.best{font-weight:700}
td small{color:var(--quiet);display:block;font-size:.86em}
th button{border:0;padding:0;font:inherit;color:inherit;text-align:inherit;position:relative}
th button::after{position:absolute;left:calc(100% + .1em);bottom:0}
th.text button{white-space:nowrap}
th[aria-sort=descending] button::after{content:"▾"}
th[aria-sort=ascending] button::after{content:"▴"}
.name{display:flex;flex-direction:column}
.name i{font-style:normal}
.name .n-en,[data-lang=en] .name .n-ja{font-size:.84em;color:var(--quiet);font-weight:400}
[data-lang=en] .name .n-en{order:-1;font-size:1em;color:inherit;font-weight:inherit}
.mark{display:inline-block;border:1px solid var(--s1);color:var(--s1);border-radius:.3rem;font-size:.72rem;
  padding:0 .3rem;margin-left:.35rem;vertical-align:.1em}
input[type=search]{font:inherit;font-size:.92rem;padding:.4rem .7rem;width:min(100%,24rem);
  border:1px solid var(--line);border-radius:.45rem;background:var(--paper);color:inherit}
.found{color:var(--quiet);font-size:.85rem;margin-left:.6rem}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,25rem),1fr));gap:1.4rem 2rem;
  align-items:start;margin:.8rem 0}
.charts.three{grid-template-columns:repeat(auto-fit,minmax(min(100%,19rem),1fr))}
.charts>*{min-width:0}
figure{margin:0}
.chart svg{display:block;width:100%;height:auto;max-width:38rem;overflow:visible}
.chart.large svg{max-width:40rem}
.chart>h3,.chart>figcaption h3{margin:.2rem 0 .4rem}
svg text{fill:var(--quiet);font-size:13px;font-family:inherit}
svg .strong{fill:var(--ink)}
.three svg text{font-size:15px}
.grid{stroke:var(--line);stroke-width:1;fill:none}
.axis{stroke:var(--quiet);stroke-width:1;fill:none}
.ideal{stroke:var(--quiet);stroke-dasharray:3 4;fill:none}
.legend{display:flex;flex-wrap:wrap;gap:.15rem 1.1rem;font-size:.86rem;color:var(--ink);margin:.5rem 0 0;padding:0;
  list-style:none}
.legend li{display:flex;align-items:center;gap:.4rem}
.legend svg{width:26px!important;height:14px!important;flex:none}
.key{width:26px;height:14px}
.spark{width:104px;height:14px;vertical-align:-2px}
.track{stroke:var(--line);stroke-width:2}
.reach{stroke:var(--s0);stroke-width:2.4;opacity:.55}
.dot{fill:var(--s0)}
.minus .dot{fill:var(--s1)}
.minus .reach{stroke:var(--s1)}
.tell{min-height:1.7em;font-size:.9rem;color:var(--ink);margin:.3rem 0}
.s0{--c:var(--s0)}
.s1{--c:var(--s1)}
.s2{--c:var(--s2)}
.s3{--c:var(--s3)}
.s4{--c:var(--s4)}
.s5{--c:var(--s5)}
.s6{--c:var(--s6)}
.s7{--c:var(--s7)}
.line{fill:none;stroke:var(--c);stroke-width:2}
.band{fill:var(--c);opacity:.14;stroke:none}
.bars{stroke:var(--c);stroke-width:1.4;opacity:.75;fill:none}
.point{fill:var(--c);stroke:var(--paper);stroke-width:1}
.point.open{fill:var(--paper);stroke:var(--c);stroke-width:1.8}
.thin .point{opacity:.75;stroke-width:.5}
.s1 .line,.line.s1{stroke-dasharray:7 3}
.line.s2{stroke-dasharray:2 3}
.line.s3{stroke-dasharray:9 3 2 3}
.line.s4{stroke-dasharray:5 5}
.line.s5{stroke-dasharray:12 3}
.ecgs{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,28rem),1fr));gap:1.6rem}
.ecgs>figure{min-width:0}
.paperframe{overflow-x:auto;border-radius:.5rem;background:#fff;border:1px solid var(--line)}
.paperframe img{display:block;width:100%;min-width:34rem;height:auto}
figcaption{font-size:.9rem;margin-top:.45rem}
.ecgs table{min-width:0;font-size:.86rem;margin-top:.3rem}
.ecgs td{border:0;padding:.08rem .5rem .08rem 0}
.ecgs td:first-child{min-width:0}
.hit{color:var(--s2);font-weight:650}
pre{background:var(--soft);border-radius:.5rem;padding:.8rem 1rem;overflow-x:auto;font-size:.86rem;line-height:1.6;
  margin:.5rem 0}
code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.92em}
details{margin:.5rem 0}
summary{cursor:pointer;color:var(--accent)}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:0 2rem}
.pairs{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.15rem 1.2rem;font-size:.9rem;margin:.4rem 0}
.pairs dt{color:var(--quiet)}
.pairs dd{margin:0}
.columns{columns:15rem;font-size:.9rem;padding:0;margin:.6rem 0;list-style:none}
.columns li{break-inside:avoid;padding:.1rem 0}
footer{color:var(--quiet);font-size:.86rem;border-top:1px solid var(--line);margin-top:3rem;
  padding:1.2rem 1.5rem 3rem}
[data-lang=ja] .en,[data-lang=en] .ja,html:not([data-lang]) svg .en,html:not([data-lang]) th .en{display:none}
html:not([data-lang]) .en{font-size:.82em;color:var(--quiet);margin-left:.4em}
html:not([data-lang]) input[type=search]{display:none}
[hidden]{display:none!important}
@media(max-width:40rem){
  .extra{display:none}
  .chart svg text{font-size:15.5px}
  body{font-size:15px}
  main,.head,footer,nav>div{padding-left:1rem;padding-right:1rem}
  h1{font-size:1.4rem}
  .head{padding-top:1.1rem}
  .switches{float:none;margin:0 0 .6rem;justify-content:flex-end}
  .tiles{grid-template-columns:repeat(2,minmax(0,1fr));gap:.6rem}
  .tile{padding:.7rem .8rem}
  .tile.main{grid-column:1/-1}
  .tile b{font-size:1.7rem}
  th:first-child,td:first-child{min-width:7.6rem;max-width:9.5rem}
  th,td{padding:.34rem .45rem}
  .pairs{grid-template-columns:1fr}
  .pairs dd{margin-bottom:.3rem}
}
@media print{
  @page{size:A4;margin:13mm}
  html{font-size:12px}
  :root,:root[data-theme=dark],:root:not([data-theme=light]){color-scheme:light;--ink:#111;--quiet:#4d5560;
    --paper:#fff;--soft:#f4f6f8;--line:#d5dae0;--accent:#2b5f94;--tint:#e8f0f8;--warn:#8a5a00;--warnsoft:#fdf5e3;
    --s0:#1f6fb4;--s1:#c75a00;--s2:#00805f;--s3:#a8418a;--s4:#6b5b00;--s5:#5b5bd6;--s6:#7a7f87;--s7:#b3261e;
    --low:#8c510a;--mid:#f3f1ec;--high:#01665e}
  body{font-size:9pt;-webkit-print-color-adjust:exact;print-color-adjust:exact}
  main,.head,footer{max-width:none;padding-left:0;padding-right:0}
  nav,.switches,input,.found,.tell{display:none!important}
  .wide,.paperframe,pre{overflow:visible}
  pre{white-space:pre-wrap}
  .extra{display:none}
  table{font-size:7.8pt}
  th,td{padding:.18rem .35rem;white-space:normal}
  thead{display:table-header-group}
  tr,figure,.tile,.legend{break-inside:avoid}
  .charts,section>p{break-inside:avoid}
  h2,h3,section>p{break-after:avoid}
  section{padding-top:1rem;margin-top:.8rem}
  .paperframe img{min-width:0}
  .ecgs,.charts{grid-template-columns:1fr 1fr}
  .charts.three{grid-template-columns:repeat(3,1fr)}
  .tiles{grid-template-columns:repeat(4,minmax(0,1fr))}
  .tile b{font-size:1.4rem}
  th:first-child,td:first-child{position:static}
  .spark{width:60px}
}
"""
BEGINNING = """
(function(){
 var root=document.documentElement,asked=new URLSearchParams(location.search);
 var kept=function(name){try{return localStorage.getItem('ecgclip-'+name)}catch(error){return null}};
 var lang=asked.get('lang')||kept('lang'),theme=asked.get('theme')||kept('theme');
 root.dataset.lang=root.lang=lang==='en'?'en':'ja';
 if(theme==='dark'||theme==='light')root.dataset.theme=theme})();
"""
SCRIPT = """
(function(){
var root=document.documentElement;
var keep=function(name,value){try{localStorage.setItem('ecgclip-'+name,value)}catch(error){}};
var every=function(what,act,within){Array.prototype.forEach.call((within||document).querySelectorAll(what),act)};
var write=function(){
 document.title=root.dataset[root.lang==='en'?'titleEn':'titleJa']||document.title;
 every('input[data-ja]',function(box){box.placeholder=box.dataset[root.lang];box.setAttribute('aria-label',box.placeholder)})};
every('.switches',function(box){box.hidden=false});
write();
every('[data-switch=lang]',function(button){button.onclick=function(){
 root.lang=root.dataset.lang=root.lang==='en'?'ja':'en';keep('lang',root.lang);write()}});
every('[data-switch=theme]',function(button){button.onclick=function(){
 var dark=root.dataset.theme?root.dataset.theme==='dark':matchMedia('(prefers-color-scheme:dark)').matches;
 root.dataset.theme=dark?'light':'dark';keep('theme',root.dataset.theme)}});
every('table.sort',function(table){
 var body=table.tBodies[0],heads=Array.from(table.tHead.rows[0].cells);
 heads.forEach(function(head,column){var button=head.querySelector('button');if(button)button.onclick=function(){
  var now=head.getAttribute('aria-sort'),way=(now?now==='descending':head.classList.contains('text'))?1:-1;
  var key=function(row){var cell=row.cells[column];return cell.dataset.key===undefined?cell.textContent:cell.dataset.key};
  heads.forEach(function(other){other.removeAttribute('aria-sort')});
  head.setAttribute('aria-sort',way>0?'ascending':'descending');
  Array.from(body.rows).sort(function(a,b){
   a=key(a);b=key(b);
   if(a===''||b==='')return (a==='')-(b==='');
   return way*(isNaN(a)||isNaN(b)?a.localeCompare(b,'ja'):a-b)}).forEach(function(row){body.appendChild(row)})}})});
every('input[data-find]',function(box){
 var table=document.getElementById(box.dataset.find),count=box.nextElementSibling;
 var plain=function(text){return text.normalize('NFKC').toLowerCase()};
 box.oninput=function(){
  var words=plain(box.value).split(/\\s+/),shown=0;
  every('tbody tr',function(row){
   var text=plain(row.textContent);
   row.hidden=!words.every(function(word){return text.indexOf(word)>=0});shown+=!row.hidden},table);
  count.textContent=box.value?shown+' / '+table.tBodies[0].rows.length:''}});
every('.matrix',function(figure){
 var data=JSON.parse(figure.querySelector('script').textContent),size=data.ja.length;
 var svg=figure.querySelector('svg'),tell=figure.querySelector('.tell'),mark=figure.querySelector('.pick');
 var show=function(event){
  var box=svg.querySelector('.cells').getBoundingClientRect();
  var column=Math.floor((event.clientX-box.left)/box.width*size),row=Math.floor((event.clientY-box.top)/box.height*size);
  if(row<0||column<0||row>=size||column>=size)return;
  var names=data[root.lang]||data.ja,value=data.values[row][column];
  tell.textContent=names[row]+' × '+names[column]+'  '+(value===null?'-':(value/100).toFixed(2));
  mark.setAttribute('x',column);mark.setAttribute('y',row);mark.setAttribute('visibility','visible')};
 svg.addEventListener('pointermove',show);svg.addEventListener('click',show)});
addEventListener('beforeprint',function(){every('details',function(part){part.open=true})})})();
"""
